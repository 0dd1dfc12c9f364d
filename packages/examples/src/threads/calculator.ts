// A class whose methods take their time. It knows nothing of threads.

export class ExpensiveCalculator {
  readonly name: string
  /** The methods that were called, in that order. */
  readonly calls: Array<string> = []

  constructor(name: string) {
    this.name = name
  }

  fibonacci(n: number): number {
    this.calls.push("fibonacci")
    return fibonacci(n)
  }

  factorial(n: number): number {
    this.calls.push("factorial")
    return factorial(n)
  }

  processData(size: number): number {
    this.calls.push("processData")
    return Array.from({ length: size }, (_, x) => x * x).reduce((sum, square) => sum + square, 0)
  }
}

const fibonacci = (n: number): number => (n <= 1 ? n : fibonacci(n - 1) + fibonacci(n - 2))

const factorial = (n: number): number => (n <= 1 ? 1 : n * factorial(n - 1))
