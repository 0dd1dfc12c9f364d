// Texts of statements that were compiled before.
import type { Compiler, Fragment } from "effect/sql/Statement"

export const remembering = (compiler: Compiler): Compiler => new Remembering(compiler, new Tree())

class Remembering implements Compiler {
  readonly dialect: Compiler["dialect"]
  private readonly compiler: Compiler
  private readonly known: Tree
  private untransformed: this | undefined = undefined

  constructor(compiler: Compiler, known: Tree) {
    this.dialect = compiler.dialect
    this.compiler = compiler
    this.known = known
  }

  compile(statement: Fragment, withoutTransform: boolean): ReturnType<Compiler["compile"]> {
    const params: Array<unknown> = []
    let known: Known | undefined = this.known.root
    for (const segment of statement.segments) {
      if (segment._tag === "Parameter") {
        params.push(segment.value)
        known = known.afterParameter()
      } else {
        // Names may be transformed, and helpers depend on what is in them.
        known =
          segment._tag === "Literal" && segment.params === undefined
            ? this.known.afterLiteral(known, segment.value)
            : undefined
        if (known === undefined) return this.compiler.compile(statement, withoutTransform)
      }
    }
    known.sql ??= this.compiler.compile(statement, withoutTransform)[0]
    return [known.sql, params]
  }

  /** What is known has no names in it that would be transformed. */
  get withoutTransform(): this {
    return (this.untransformed ??= new Remembering(this.compiler.withoutTransform, this.known) as this)
  }
}

/** Literals in one tree. Programs run few different texts; those that make theirs up may start afresh now and then. */
const mostKnown = 2_000
/** Texts beyond this are not kept. */
const longest = 10_000

/**
 * Segments of statements: each statement is a way from the root. Where the same ways are gone again and again, statements have
 * the very same string each time, which maps find without reading it.
 */
class Tree {
  root = new Known()
  private size = 0

  afterLiteral(from: Known, text: string): Known | undefined {
    const known = from.literals.get(text)
    if (known !== undefined || text.length > longest) return known
    if (++this.size > mostKnown) {
      this.root = new Known()
      this.size = 1
    }
    const added = new Known()
    from.literals.set(text, added)
    return added
  }
}

class Known {
  /** What the segments up to here compile to. */
  sql: string | undefined = undefined
  readonly literals = new Map<string, Known>()
  private parameter: Known | undefined = undefined

  afterParameter(): Known {
    return (this.parameter ??= new Known())
  }
}
