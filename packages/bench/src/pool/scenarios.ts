/** How it is measured: what every contender has to do, timed the same way. */
import { Cause, Effect, Exit, Fiber, Pool as EffectPool, Scope } from "effect"
import { Pool } from "@cenote/pool"
import { collect, type Contestant, settle, tick } from "../harness.ts"
import {
  acquire,
  type Contender,
  type EffectContender,
  factory,
  genericPool,
  type LibraryContender,
  type Resource
} from "./contenders.ts"

/** Runs `f` and gives the nanoseconds for each of `operations`. */
const time = async (operations: number, f: () => Promise<unknown>): Promise<number> => {
  const start = performance.now()
  await f()
  return ((performance.now() - start) * 1e6) / operations
}

// -----------------------------------------------------------------------------
// Alone
// -----------------------------------------------------------------------------

const counter = { touched: 0 }
const touch = (): void => {
  counter.touched++
}
const touchEffect = Effect.sync(touch)

/** One fiber, or one async function, borrows and returns `times` times. */
export const alone =
  (times: number) =>
  (contender: Contender): Contestant => ({
    name: contender.name,
    sample: () => {
      let left = times
      const more = () => left-- > 0
      return time(times, () =>
        contender.kind === "effect"
          ? Effect.runPromise(repeatEffect(contender, touchEffect, more))
          : repeatPromise(contender, touch, more)
      )
    }
  })

const repeatEffect = (contender: EffectContender, body: Effect.Effect<void>, more: () => boolean) =>
  Effect.gen(function* () {
    while (more()) yield* contender.around(body)
  })

const repeatPromise = async (
  contender: Exclude<Contender, EffectContender>,
  body: () => void | Promise<void>,
  more: () => boolean
): Promise<void> => {
  while (more()) {
    if (contender.kind === "wrapper") {
      await contender.around(body)
    } else {
      const item = await contender.acquire()
      const running = body()
      if (running !== undefined) await running
      contender.release(item)
    }
  }
}

// -----------------------------------------------------------------------------
// Many
// -----------------------------------------------------------------------------

/**
 * `fibers` fibers, or async functions, borrow, let the others run once and return, over and over.
 *
 * The clock starts when all of them have asked, and stops after `operations` returns, while all are still
 * asking: neither the making of the fibers nor the end, where the line gets shorter, is measured. Each has
 * yielded once before, since a fiber's first yield makes its dispatcher.
 */
export const handOff =
  (fibers: number, operations: number, floors: { readonly effect: string; readonly promise: string }) =>
  (contender: Contender): Contestant => {
    const floor = contender.kind === "effect" ? floors.effect : floors.promise
    return {
      name: contender.name,
      floor: floor === contender.name ? undefined : floor,
      sample: async () => {
        const counted = latch()
        let left = Infinity
        const more = () => {
          if (--left === 0) counted.open()
          return left > 0
        }
        const crew =
          contender.kind === "effect"
            ? await startFibers(fibers, repeatEffect(contender, Effect.yieldNow, more))
            : startFunctions(fibers, () => repeatPromise(contender, tick, more))
        settle()
        crew.open()
        await tick()
        const result = await time(operations, () => {
          left = operations
          return Promise.race([counted.promise, crew.ended])
        })
        await crew.ended
        return result
      }
    }
  }

interface Crew {
  readonly open: () => void
  readonly ended: Promise<unknown>
}

interface Fibers extends Crew {
  readonly fibers: ReadonlyArray<Fiber.Fiber<void, unknown>>
}

const startFibers = async (count: number, work: Effect.Effect<void, unknown>): Promise<Fibers> => {
  const gate = new Gate()
  const program = Effect.andThen(Effect.andThen(Effect.yieldNow, gate.pass), work)
  const fibers = Array.from({ length: count }, () => Effect.runFork(program))
  const ended = allEnded(fibers)
  await gate.arrived(count)
  return { fibers, open: () => gate.open(), ended }
}

/** Fails with what any fiber failed with, interruption aside. */
const allEnded = (fibers: ReadonlyArray<Fiber.Fiber<void, unknown>>): Promise<void> =>
  new Promise((resolve, reject) => {
    let left = fibers.length
    const onExit = (exit: Exit.Exit<void, unknown>) => {
      if (Exit.isFailure(exit) && !Cause.hasInterruptsOnly(exit.cause)) reject(Cause.squash(exit.cause))
      if (--left === 0) resolve()
    }
    for (const fiber of fibers) fiber.addObserver(onExit)
  })

const startFunctions = (count: number, work: () => Promise<void>): Crew => {
  const { open, promise } = latch()
  const worker = async () => {
    await promise
    await work()
  }
  return { open, ended: Promise.all(Array.from({ length: count }, worker)) }
}

const latch = (): { readonly promise: Promise<void>; readonly open: () => void } => {
  let open!: () => void
  const promise = new Promise<void>((resolve) => {
    open = resolve
  })
  return { promise, open }
}

/** Holds fibers up until it is opened. */
class Gate {
  private readonly resumes: Array<(effect: Effect.Effect<void>) => void> = []

  readonly pass = Effect.callback<void>((resume) => {
    this.resumes.push(resume)
  })

  async arrived(count: number): Promise<void> {
    while (this.resumes.length < count) await tick()
  }

  open(): void {
    for (const resume of this.resumes.splice(0)) resume(Effect.void)
  }
}

// -----------------------------------------------------------------------------
// Giving up
// -----------------------------------------------------------------------------

const held = 10

/** Borrows all there is, and gives the function that lets go. */
const holdAll = async (contender: EffectContender): Promise<() => Promise<void>> => {
  const gate = new Gate()
  const fibers = Array.from({ length: held }, () => Effect.runFork(contender.around(gate.pass)))
  const ended = allEnded(fibers)
  await gate.arrived(held)
  return () => {
    gate.open()
    return ended
  }
}

/**
 * While all is lent `waiters` fibers join the line, each second one is interrupted there, and the others are
 * served; `times` times over.
 */
export const givingUp =
  (waiters: number, times: number) =>
  (contender: EffectContender): Contestant => ({
    name: contender.name,
    sample: async () => {
      let total = 0
      for (let i = 0; i < times; i++) total += await giveUp(contender, waiters)
      return total / times
    }
  })

const giveUp = async (contender: EffectContender, waiters: number): Promise<number> => {
  const letGo = await holdAll(contender)
  const crew = await startFibers(waiters, contender.around(Effect.yieldNow))
  settle()
  return time(waiters, () => {
    crew.open()
    for (let i = 0; i < waiters; i += 2) crew.fibers[i]!.interruptUnsafe()
    return Promise.all([letGo(), crew.ended])
  })
}

// -----------------------------------------------------------------------------
// Memory
// -----------------------------------------------------------------------------

const heapUsed = async (): Promise<number> => {
  for (let i = 0; i < 3; i++) {
    collect()
    await tick()
  }
  return process.memoryUsage().heapUsed
}

/** Bytes of heap for each of `count` things that `make` makes and `drop` takes away. */
const bytes = async <A>(
  count: number,
  make: () => A | Promise<A>,
  drop: (made: A) => Promise<unknown>
): Promise<number> => {
  const before = await heapUsed()
  const made = await make()
  const after = await heapUsed()
  await drop(made)
  return (after - before) / count
}

const suspendedFiber = "fiber on Effect.never"
const suspendedFunction = "async function on a promise"

/** Fibers that wait for nothing in particular. */
export const bytesOfSuspendedFiber = (count: number): Contestant => ({
  name: suspendedFiber,
  sample: () => bytesOfFibers(count, Effect.never)
})

export const bytesOfSuspendedFunction = (count: number): Contestant => ({
  name: suspendedFunction,
  sample: () => {
    const { open, promise } = latch()
    const wait = async () => {
      await promise
    }
    return bytes(
      count,
      () => Array.from({ length: count }, wait),
      (waiting) => {
        open()
        return Promise.all(waiting)
      }
    )
  }
})

/** Fibers that stand in the contender's line. */
export const bytesOfWaiter =
  (count: number) =>
  (contender: EffectContender): Contestant => ({
    name: contender.name,
    floor: suspendedFiber,
    sample: async () => {
      const letGo = await holdAll(contender)
      const result = await bytesOfFibers(count, contender.around(Effect.void))
      await letGo()
      return result
    }
  })

const bytesOfFibers = (count: number, program: Effect.Effect<void, unknown>): Promise<number> =>
  bytes(
    count,
    () => Array.from({ length: count }, () => Effect.runFork(program)),
    (fibers) => Effect.runPromise(Fiber.interruptAll(fibers))
  )

export const bytesOfWaitingFunction =
  (count: number) =>
  (contender: LibraryContender): Contestant => {
    const borrow = async () => {
      contender.release(await contender.acquire())
    }
    return {
      name: contender.name,
      floor: suspendedFunction,
      sample: async () => {
        const lent = await Promise.all(Array.from({ length: held }, () => contender.acquire()))
        return bytes(
          count,
          () => Array.from({ length: count }, borrow),
          (waiting) => {
            for (const item of lent) contender.release(item)
            return Promise.all(waiting)
          }
        )
      }
    }
  }

/** Resources at rest: the objects alone, and in each pool. */
export const bytesOfIdle = (count: number): ReadonlyArray<Contestant> => {
  const alone = "the resource alone"
  const filled = (name: string, fill: Effect.Effect<unknown, never, Scope.Scope>): Contestant => ({
    name,
    floor: alone,
    sample: () =>
      bytes(
        count,
        async () => {
          const scope = Scope.makeUnsafe()
          return { scope, pool: await Effect.runPromise(Scope.provide(fill, scope)) }
        },
        ({ scope }) => Effect.runPromise(Scope.close(scope, Exit.void))
      )
  })
  return [
    {
      name: alone,
      sample: () =>
        bytes<ReadonlyArray<Resource>>(
          count,
          () => Promise.all(Array.from({ length: count }, factory.create)),
          async () => {}
        )
    },
    filled("Cenote", Effect.tap(Pool.make({ acquire, size: count }), Pool.warmUp).pipe(Effect.orDie)),
    filled(
      "Effect",
      Effect.tap(EffectPool.make({ acquire, size: count }), (pool) =>
        Effect.repeat(Effect.andThen(Effect.yieldNow, EffectPool.stats(pool)), {
          until: (stats) => stats.idle === count
        })
      )
    ),
    filled(
      "generic-pool",
      Effect.tap(genericPool({ min: count, max: count }), (pool) => Effect.promise(() => pool.ready()))
    )
  ]
}
