// Programs that are written against `SqlClient` alone: repositories, queries with schemas, resolvers, migrations.
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Reactivity from "effect/reactivity/Reactivity"
import * as Schema from "effect/Schema"
import * as Model from "effect/schema/Model"
import * as Migrator from "effect/sql/Migrator"
import { SqlClient } from "effect/sql/SqlClient"
import * as SqlModel from "effect/sql/SqlModel"
import * as SqlResolver from "effect/sql/SqlResolver"
import * as SqlSchema from "effect/sql/SqlSchema"
import * as Stream from "effect/Stream"
import { type Bench, countOf, describe, eventually, expect, failureOf } from "./kit.ts"

class User extends Model.Class<User>("cenote/User")({
  // The database gives it, and updates name it.
  id: Model.Field({ select: Schema.Number, update: Schema.Number, json: Schema.Number }),
  name: Schema.String,
  age: Schema.NullOr(Schema.Number)
}) {}

export const programs = <Services>({ dialect, test }: Bench<Services>): void => {
  const { integer, key, text } = dialect.types
  const users = `id ${key}, name ${text}, age ${integer}`

  describe("programs", () => {
    test("SqlModel: a repository", { max: 2 }, function* ({ stats, table }) {
      const tableName = yield* table(users)
      const repository = yield* SqlModel.makeRepository(User, {
        tableName,
        spanPrefix: "users",
        idColumn: "id"
      })
      const ada = yield* repository.insert(User.insert.make({ name: "Ada", age: 36 }))
      expect(ada).toBeInstanceOf(User)
      expect(ada).toMatchObject({ id: 1, name: "Ada", age: 36 })
      yield* repository.insertVoid(User.insert.make({ name: "Grace", age: null }))
      expect(yield* repository.findById(2)).toMatchObject({ name: "Grace", age: null })
      expect(yield* repository.update(User.update.make({ id: 1, name: "Ada", age: 37 }))).toMatchObject({
        id: 1,
        age: 37
      })
      yield* repository.updateVoid(User.update.make({ id: 2, name: "Grace", age: 85 }))
      expect(yield* repository.findById(2)).toMatchObject({ age: 85 })
      yield* repository.delete(1)
      expect(yield* failureOf(repository.findById(1))).toMatchObject({ _tag: "NoSuchElementError" })
      yield* stats({ used: 0 })
    })

    test("SqlModel: in a transaction that is rolled back", { max: 1 }, function* ({ observer, sql, table }) {
      const tableName = yield* table(users)
      const repository = yield* SqlModel.makeRepository(User, {
        tableName,
        spanPrefix: "users",
        idColumn: "id"
      })
      yield* Effect.exit(
        sql.withTransaction(
          Effect.andThen(repository.insert(User.insert.make({ name: "Ada", age: 36 })), Effect.fail("no"))
        )
      )
      expect(yield* countOf(observer, tableName)).toBe(0)
    })

    test("SqlModel: resolvers", { max: 2 }, function* ({ pool, table }) {
      const tableName = yield* table(users)
      const resolvers = yield* SqlModel.makeResolvers(User, {
        tableName,
        spanPrefix: "users",
        idColumn: "id"
      })
      yield* Effect.forEach(
        ["Ada", "Grace", "Edsger"],
        (name, i) => SqlResolver.request(User.insert.make({ name, age: i }), resolvers.insertVoid),
        { concurrency: "unbounded" }
      )
      const before = (yield* pool.stats).borrowed
      const found = yield* Effect.forEach([3, 1, 2], (id) => SqlResolver.request(id, resolvers.findById), {
        concurrency: "unbounded"
      })
      expect(found.map(({ id }) => id)).toEqual([3, 1, 2])
      // Three requests, and one statement.
      expect((yield* pool.stats).borrowed - before).toBe(1)
      expect(yield* failureOf(SqlResolver.request(99, resolvers.findById))).toMatchObject({
        _tag: "NoSuchElementError"
      })
    })

    test("SqlSchema: requests and results have a schema", { max: 1 }, function* ({ sql, table }) {
      const it = yield* table(`n ${integer}, label ${text}`)
      const insert = SqlSchema.void({
        Request: Schema.Struct({ n: Schema.NumberFromString, label: Schema.String }),
        // The other way round: it is encoded on its way in.
        execute: ({ label, n }) => sql`insert into ${sql(it)} ${sql.insert({ n: Number(n), label })}`
      })
      for (const n of [1, 2, 3]) yield* insert({ n, label: `no. ${n}` })
      const Result = Schema.Struct({ n: Schema.Number, label: Schema.String })
      const above = sql`select n, label from ${sql(it)}`
      const findAll = SqlSchema.findAll({
        Request: Schema.Number,
        Result,
        execute: (n) => sql`${above} where n > ${n} order by n`
      })
      const findOneOption = SqlSchema.findOneOption({
        Request: Schema.Number,
        Result,
        execute: (n) => sql`${above} where n = ${n}`
      })
      expect(yield* findAll(1)).toEqual([
        { n: 2, label: "no. 2" },
        { n: 3, label: "no. 3" }
      ])
      expect(yield* findOneOption(3)).toMatchObject({ _tag: "Some", value: { n: 3 } })
      expect(yield* findOneOption(4)).toMatchObject({ _tag: "None" })
      const wrong = SqlSchema.findAll({
        Request: Schema.Void,
        Result: Schema.Struct({ n: Schema.String }),
        execute: () => above
      })
      expect(yield* failureOf(wrong(undefined))).toMatchObject({ _tag: "SchemaError" })
    })

    test(
      "SqlResolver: requests of many fibers are one statement",
      { max: 4 },
      function* ({ pool, sql, table }) {
        const it = yield* table(`id ${integer} primary key, kind ${text}`)
        yield* sql`insert into ${sql(it)} ${sql.insert([
          { id: 1, kind: "a" },
          { id: 2, kind: "b" },
          { id: 3, kind: "a" }
        ])}`
        const Result = Schema.Struct({ id: Schema.Number, kind: Schema.String })
        const byId = SqlResolver.findById({
          Id: Schema.Number,
          Result,
          ResultId: ({ id }) => id,
          execute: (ids) => sql`select * from ${sql(it)} where ${sql.in("id", ids)}`
        })
        const byKind = SqlResolver.grouped({
          Request: Schema.String,
          RequestGroupKey: (kind) => kind,
          Result,
          ResultGroupKey: ({ kind }) => kind,
          execute: (kinds) => sql`select * from ${sql(it)} where ${sql.in("kind", kinds)} order by id`
        })
        const before = (yield* pool.stats).borrowed
        const found = yield* Effect.forEach([1, 2, 3, 1], (id) => SqlResolver.request(id, byId), {
          concurrency: "unbounded"
        })
        expect(found.map(({ kind }) => kind)).toEqual(["a", "b", "a", "a"])
        expect((yield* pool.stats).borrowed - before).toBe(1)
        const groups = yield* Effect.forEach(["b", "a"], (kind) => SqlResolver.request(kind, byKind), {
          concurrency: "unbounded"
        })
        expect(groups.map((group) => group.map(({ id }) => id))).toEqual([[2], [1, 3]])
        // Within a transaction, on its connection.
        yield* sql.withTransaction(
          Effect.gen(function* () {
            yield* sql`insert into ${sql(it)} ${sql.insert({ id: 4, kind: "c" })}`
            const [four] = yield* SqlResolver.request("c", byKind)
            expect(four.id).toBe(4)
          })
        )
      }
    )

    test("Migrator: what is new runs once, in order", { max: 2 }, function* ({ observer, sql, table }) {
      const it = yield* table(`n ${integer}`)
      const migrations = `migrations_of_${it}`
      const run = (loader: Migrator.Loader) => Migrator.make({})({ loader, table: migrations })
      const add = (n: number) =>
        Effect.flatMap(SqlClient, (sql) => Effect.asVoid(sql`insert into ${sql(it)} ${sql.insert({ n })}`))
      const first = { "2_second": add(2), "1_first": add(1) }
      expect(yield* run(Migrator.fromRecord(first))).toEqual([
        [1, "first"],
        [2, "second"]
      ])
      expect(yield* run(Migrator.fromRecord(first))).toEqual([])
      const second = { ...first, "3_third": add(3) }
      expect(yield* run(Migrator.fromRecord(second))).toEqual([[3, "third"]])
      // One that fails is rolled back, with those that ran before it.
      const broken = { ...second, "4_fourth": add(4), "5_fifth": Effect.fail("broken") }
      expect(yield* failureOf(run(Migrator.fromRecord(broken)))).toMatchObject({
        _tag: "MigrationError",
        kind: "Failed"
      })
      expect((yield* sql`select n from ${sql(it)} order by n`.values).flat()).toEqual([1, 2, 3])
      expect(yield* countOf(observer, migrations)).toBe(3)
    })

    test("Migrator: several at once run each migration once", { max: 4 }, function* ({ sql, table }) {
      const it = yield* table(`n ${integer}`)
      const loader = Migrator.fromRecord({
        "1_first": Effect.flatMap(SqlClient, (sql) =>
          Effect.asVoid(sql`insert into ${sql(it)} (n) values (1)`)
        )
      })
      const run = Migrator.make({})({ loader, table: `migrations_of_${it}` })
      yield* Effect.all([run, run, run], { concurrency: "unbounded", mode: "result" })
      expect((yield* sql`select n from ${sql(it)}`.values).flat()).toEqual([1])
    })

    test("reactive queries are told of changes, after the commit", {}, function* (tools) {
      const it = yield* tools.table(`n ${integer}`)
      const reactivity = yield* Reactivity.make
      const { services, sql } = yield* Effect.provideService(
        tools.open({ max: 2 }),
        Reactivity.Reactivity,
        reactivity
      )
      const seen: Array<ReadonlyArray<unknown>> = []
      const query = Effect.map(sql`select n from ${sql(it)} order by n`.values, (rows) => rows.flat())
      yield* Effect.forkScoped(
        Stream.runForEach(sql.reactive([it], query), (numbers) => Effect.sync(() => seen.push(numbers))),
        { startImmediately: true }
      )
      yield* eventually("the first answer is there", () => seen.length === 1)
      const insert = (n: number) =>
        Reactivity.mutation(sql`insert into ${sql(it)} ${sql.insert({ n })}`, [it])
      const withReactivity = Effect.provideContext(Context.add(services, Reactivity.Reactivity, reactivity))
      yield* withReactivity(insert(1))
      yield* eventually("the second is there", () => seen.length === 2)
      yield* withReactivity(sql.withTransaction(Effect.andThen(insert(2), insert(3))))
      yield* eventually("the change is seen", () => seen.at(-1)?.length === 3)
      expect(seen[0]).toEqual([])
      expect(seen[1]).toEqual([1])
      expect(seen.at(-1)).toEqual([1, 2, 3])
      expect(seen).not.toContainEqual([1, 2])
    })
  })
}
