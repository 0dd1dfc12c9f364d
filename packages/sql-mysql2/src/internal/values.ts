// Parameters of statements, as mysql2 takes them.
import Mysql from "mysql2"

/**
 * What mysql2 gets for the parameters of a statement. A value means the same whether the statement is prepared, and parameters
 * go as they are, or not, and mysql2 writes them into its text. Throws a TypeError that names the parameter that cannot go.
 */
export const encode = (params: ReadonlyArray<unknown>, isPrepared: boolean): Array<unknown> => {
  const values: Array<unknown> = []
  for (let i = 0; i < params.length; i++) values.push(encodeOne(params[i], i, isPrepared))
  return values
}

const encodeOne = (value: unknown, index: number, isPrepared: boolean): unknown => {
  switch (typeof value) {
    case "string":
    case "boolean":
      return value
    case "number":
      return Number.isFinite(value) ? value : refuse(index, `${value}`, "Pass a finite number, or null")
    case "bigint":
      return isPrepared ? bigint(value) : value
    case "undefined":
      return refuse(index, "undefined", "Pass null for SQL NULL")
    case "object":
      return value === null ? value : encodeObject(value, index, isPrepared)
    default:
      return refuse(index, `a ${typeof value}`, "Pass a string, a number, a Date, bytes, plain data or null")
  }
}

const encodeObject = (value: object, index: number, isPrepared: boolean): unknown => {
  if (Buffer.isBuffer(value)) return value
  // mysql2 knows buffers. Of another kind of bytes it would make text.
  if (ArrayBuffer.isView(value)) return Buffer.from(value.buffer, value.byteOffset, value.byteLength)
  if (value instanceof ArrayBuffer || value instanceof SharedArrayBuffer) return Buffer.from(value)
  if (value instanceof Date) {
    return Number.isNaN(value.getTime())
      ? refuse(index, "an invalid Date", "Pass a valid one, or null")
      : value
  }
  if (isTyped(value)) return isPrepared ? value : encodeOne(value.value, index, isPrepared)
  // What `raw` of mysql2 makes: part of the text.
  if (!isPrepared && "toSqlString" in value && typeof value.toSqlString === "function") return value
  if (isJson(value)) {
    // A prepared statement sends plain data as JSON. In a text, mysql2 would make a list or assignments of it.
    return isPrepared && Object.getPrototypeOf(value) !== null ? value : json(value, index)
  }
  return refuse(index, `an object of class ${value.constructor.name}`, "Pass plain data, which goes as JSON")
}

const isJson = (value: object): boolean => {
  if (Array.isArray(value)) return true
  const prototype: unknown = Object.getPrototypeOf(value)
  return (
    prototype === null ||
    prototype === Object.prototype ||
    ("toJSON" in value && typeof value.toJSON === "function")
  )
}

const json = (value: object, index: number): string => {
  try {
    return JSON.stringify(value)
  } catch (error) {
    return refuse(index, "not JSON", error instanceof Error ? error.message : String(error))
  }
}

/** As text it would be compared as a floating point number, and the last digits would not count. */
const bigint = (value: bigint): unknown => {
  const { TypedParameter } = Mysql
  if (TypedParameter === undefined) return value.toString()
  if (BigInt.asIntN(64, value) === value) return TypedParameter.BIGINT(value)
  return BigInt.asUintN(64, value) === value ? TypedParameter.BIGINT.unsigned(value) : value.toString()
}

/** Values that say their type: `TypedParameter` of mysql2. */
const isTyped = (value: object): value is { readonly value: unknown } => value.constructor === typed

const typed: unknown = Mysql.TypedParameter?.NULL().constructor

const refuse = (index: number, found: string, expected: string): never => {
  throw new TypeError(`parameter ${index + 1} of the statement is ${found}. ${expected}`)
}

/**
 * Makes the bytes in a row what they are in a thread too, where no `Buffer` arrives: a `Uint8Array` on the same memory. Gives the
 * row.
 */
export const plainBytes = <A>(row: A): A => {
  if (typeof row !== "object" || row === null) return row
  for (const value of Object.values(row)) {
    if (Buffer.isBuffer(value)) Object.setPrototypeOf(value, Uint8Array.prototype)
    // Of several statements in one text, each has its rows.
    else if (Array.isArray(row) && typeof value === "object" && value !== null) plainBytes(value)
  }
  return row
}
