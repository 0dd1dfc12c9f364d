// What an error of mysql2, of MySQL or of MariaDB means.
//
// The numbers are those of https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html and of
// https://mariadb.com/kb/en/mariadb-error-code-reference/. Both servers give the same numbers the same meaning below 4000,
// where each of them uses them; from there on they do not.
import {
  AuthenticationError,
  AuthorizationError,
  ConnectionError,
  ConstraintError,
  DeadlockError,
  LockTimeoutError,
  SerializationError,
  SqlError,
  type SqlErrorReason,
  SqlSyntaxError,
  StatementTimeoutError,
  UniqueViolation,
  UnknownError
} from "effect/sql/SqlError"

/** A SqlError for what mysql2 or the server said. `what` could not be done; `isMariaDb` tells the numbers above 4000 apart. */
export const sqlError = (cause: unknown, what: string, operation: string, isMariaDb?: boolean): SqlError => {
  const { code, errno } = propertiesOf(cause)
  if (isErrorWith(cause) && endsSession(errno, code, isMariaDb)) cause.fatal = true
  return new SqlError({ reason: reasonOf(cause, messageOf(cause, what), operation, isMariaDb) })
}

/** A SqlError for a connection that is gone, or is given up here. */
export const connectionError = (
  message: string,
  operation: string,
  code = "PROTOCOL_CONNECTION_LOST"
): SqlError => {
  const cause = Object.assign(new Error(message), { code, fatal: true })
  return new SqlError({ reason: new ConnectionError({ cause, message, operation }) })
}

/** A SqlError for what mysql2 or the server said when a connection ended, whatever it was. */
export const lossError = (cause: unknown, operation: string, isMariaDb: boolean): SqlError => {
  const error = sqlError(cause, "The connection has ended", operation, isMariaDb)
  return error.reason._tag === "ConnectionError"
    ? error
    : new SqlError({ reason: new ConnectionError({ cause, message: error.message, operation }) })
}

/** A SqlError for something that was asked for and cannot be done. */
export const usageError = (message: string, operation: string, cause?: unknown): SqlError =>
  new SqlError({ reason: new UnknownError({ cause: cause ?? new TypeError(message), message, operation }) })

/**
 * Whether an error means that the session is over. Goes by what the cause says of itself, as it may have come from a thread,
 * where it was another object.
 */
export const isFatal = ({ reason }: SqlError): boolean => {
  if (reason._tag === "ConnectionError") return true
  const { code, errno, fatal } = propertiesOf(reason.cause)
  return fatal === true || endsSession(errno, code, undefined)
}

/** Whether the server says that it was told to stop a statement: `KILL QUERY`, or a limit of time. */
export const isInterruption = ({ reason }: SqlError): boolean =>
  interruptions.has(propertiesOf(reason.cause).errno ?? 0)

/** Whether the server says that it does not know a command. */
export const isUnknownCommand = ({ reason }: SqlError): boolean => propertiesOf(reason.cause).errno === 1047

// -----------------------------------------------------------------------------
// Reasons
// -----------------------------------------------------------------------------

const reasonOf = (
  cause: unknown,
  message: string,
  operation: string,
  isMariaDb: boolean | undefined
): SqlErrorReason => {
  const { code, errno, sqlState } = propertiesOf(cause)
  const props = { cause, message, operation }
  if (errno !== undefined) {
    if (unique.has(errno)) return new UniqueViolation({ ...props, constraint: constraintOf(cause) })
    for (const [numbers, Reason] of byNumber) if (numbers.has(errno)) return new Reason(props)
    const own =
      isMariaDb === true ? mariaDbOnly.get(errno) : isMariaDb === false ? mySqlOnly.get(errno) : undefined
    if (own !== undefined) return new own(props)
    // The first two characters of a SQL state are its class, the same for both servers.
    const byState = byClass.get(sqlState.slice(0, 2))
    if (byState !== undefined && !classless.has(errno)) return new byState(props)
    return new UnknownError(props)
  }
  if (code === "PROTOCOL_SEQUENCE_TIMEOUT") return new StatementTimeoutError(props)
  if (code.startsWith("AUTH_")) return new AuthenticationError(props)
  return connectionCode.test(code) ||
    isClosedState(cause) ||
    (operation === "connect" && socketCode.test(code))
    ? new ConnectionError(props)
    : new UnknownError(props)
}

type PlainReason = new (props: {
  readonly cause: unknown
  readonly message: string
  readonly operation: string
}) => SqlErrorReason

/** Duplicate keys: with the key's number, with its name, of an index that is being built, and by AUTO_INCREMENT. */
const unique = new Set([1062, 1569, 1586, 1859])

/** The session is over, or was refused: whatever is wrong, it is between here and the server. */
const connection = new Set([
  1040, // ER_CON_COUNT_ERROR: too many connections
  1042, // ER_BAD_HOST_ERROR
  1043, // ER_HANDSHAKE_ERROR
  1047, // ER_UNKNOWN_COM_ERROR; of Galera also: the node is not ready
  1053, // ER_SERVER_SHUTDOWN
  1077, // ER_NORMAL_SHUTDOWN
  1079, // ER_SHUTDOWN_COMPLETE
  1080, // ER_FORCING_CLOSE
  1081, // ER_IPSOCK_ERROR
  1129, // ER_HOST_IS_BLOCKED
  1130, // ER_HOST_NOT_PRIVILEGED
  1152, // ER_ABORTING_CONNECTION
  1154, // ER_NET_READ_ERROR_FROM_PIPE
  1155, // ER_NET_FCNTL_ERROR
  1156, // ER_NET_PACKETS_OUT_OF_ORDER
  1157, // ER_NET_UNCOMPRESS_ERROR
  1158, // ER_NET_READ_ERROR
  1159, // ER_NET_READ_INTERRUPTED
  1160, // ER_NET_ERROR_ON_WRITE
  1161, // ER_NET_WRITE_INTERRUPTED
  1184, // ER_NEW_ABORTING_CONNECTION
  1203, // ER_TOO_MANY_USER_CONNECTIONS
  1226, // ER_USER_LIMIT_REACHED
  1927, // MariaDB: ER_CONNECTION_KILLED
  2002, // CR_CONNECTION_ERROR, and the next ones: from a proxy, which is a client of the server
  2003, // CR_CONN_HOST_ERROR
  2006, // CR_SERVER_GONE_ERROR
  2013, // CR_SERVER_LOST
  2055, // CR_SERVER_LOST_EXTENDED
  3032, // ER_SERVER_OFFLINE_MODE
  3168, // ER_SERVER_ISNT_AVAILABLE
  3169 // MySQL: ER_SESSION_WAS_KILLED
])

const authentication = new Set([
  1045, // ER_ACCESS_DENIED_ERROR
  1251, // ER_NOT_SUPPORTED_AUTH_MODE
  1275, // ER_SERVER_IS_IN_SECURE_AUTH_MODE
  1524, // ER_PLUGIN_IS_NOT_LOADED: of the account
  1698, // ER_ACCESS_DENIED_NO_PASSWORD_ERROR
  1820, // ER_MUST_CHANGE_PASSWORD
  1862, // ER_MUST_CHANGE_PASSWORD_LOGIN
  1873, // ER_ACCESS_DENIED_CHANGE_USER_ERROR
  3118, // MySQL: ER_ACCOUNT_HAS_BEEN_LOCKED
  3159, // MySQL: ER_SECURE_TRANSPORT_REQUIRED
  3955 // MySQL: blocked after too many wrong passwords
])

const authorization = new Set([
  1044, // ER_DBACCESS_DENIED_ERROR
  1095, // ER_KILL_DENIED_ERROR
  1142, // ER_TABLEACCESS_DENIED_ERROR
  1143, // ER_COLUMNACCESS_DENIED_ERROR
  1227, // ER_SPECIFIC_ACCESS_DENIED_ERROR
  1370, // ER_PROCACCESS_DENIED_ERROR
  1410 // ER_CANT_CREATE_USER_WITH_GRANT
])

const syntax = new Set([
  1051, // ER_BAD_TABLE_ERROR
  1052, // ER_NON_UNIQ_ERROR
  1054, // ER_BAD_FIELD_ERROR
  1064, // ER_PARSE_ERROR
  1136, // ER_WRONG_VALUE_COUNT_ON_ROW
  1146, // ER_NO_SUCH_TABLE
  1193, // ER_UNKNOWN_SYSTEM_VARIABLE
  1210, // ER_WRONG_ARGUMENTS: as many parameters as placeholders, and of such a kind
  1360 // ER_TRG_DOES_NOT_EXIST
])

const constraint = new Set([
  1022, // ER_DUP_KEY
  1048, // ER_BAD_NULL_ERROR
  1169, // ER_DUP_UNIQUE
  1216, // ER_NO_REFERENCED_ROW
  1217, // ER_ROW_IS_REFERENCED
  1364, // ER_NO_DEFAULT_FOR_FIELD
  1451, // ER_ROW_IS_REFERENCED_2
  1452, // ER_NO_REFERENCED_ROW_2
  1557, // ER_FOREIGN_DUPLICATE_KEY_OLD_UNUSED
  1761, // ER_FOREIGN_DUPLICATE_KEY_WITH_CHILD_INFO
  1762, // ER_FOREIGN_DUPLICATE_KEY_WITHOUT_CHILD_INFO
  3819 // MySQL: ER_CHECK_CONSTRAINT_VIOLATED
])

const deadlock = new Set([
  1213, // ER_LOCK_DEADLOCK; of Galera also: another node was first
  1614, // ER_XA_RBDEADLOCK
  3058 // ER_USER_LOCK_DEADLOCK
])

const serialization = new Set([
  1020, // ER_CHECKREAD: with MariaDB's innodb_snapshot_isolation, the row has changed since the snapshot
  3101 // MySQL: ER_TRANSACTION_ROLLBACK_DURING_COMMIT
])

const lockTimeout = new Set([
  1205, // ER_LOCK_WAIT_TIMEOUT; in MariaDB also NOWAIT
  1613, // ER_XA_RBTIMEOUT
  3572 // MySQL: ER_LOCK_NOWAIT
])

/** A statement that somebody stopped is told as PostgreSQL's clients tell it. */
const interruptions = new Set([
  1317, // ER_QUERY_INTERRUPTED
  1969, // MariaDB: ER_STATEMENT_TIMEOUT: max_statement_time
  3024 // MySQL: ER_QUERY_TIMEOUT: max_execution_time
])

const byNumber: ReadonlyArray<readonly [ReadonlySet<number>, PlainReason]> = [
  [syntax, SqlSyntaxError],
  [constraint, ConstraintError],
  [deadlock, DeadlockError],
  [lockTimeout, LockTimeoutError],
  [interruptions, StatementTimeoutError],
  [connection, ConnectionError],
  [authentication, AuthenticationError],
  [authorization, AuthorizationError],
  [serialization, SerializationError]
]

const mariaDbOnly = new Map<number, PlainReason>([
  [4025, ConstraintError], // ER_CONSTRAINT_FAILED: a CHECK
  [4150, AuthenticationError], // ER_USER_IS_BLOCKED
  [4151, AuthenticationError] // ER_ACCOUNT_HAS_BEEN_LOCKED
])

const mySqlOnly = new Map<number, PlainReason>([
  [4031, ConnectionError] // ER_CLIENT_INTERACTION_TIMEOUT: idle for longer than wait_timeout
])

const byClass = new Map<string, PlainReason>([
  ["08", ConnectionError],
  ["23", ConstraintError],
  ["28", AuthenticationError],
  ["40", SerializationError],
  ["42", SqlSyntaxError]
])

/** They have a class that says something else. */
const classless = new Set([
  1049, // ER_BAD_DB_ERROR
  1153, // ER_NET_PACKET_TOO_LARGE: the next attempt would be too large as well
  1461 // ER_MAX_PREPARED_STMT_COUNT_REACHED
])

// -----------------------------------------------------------------------------
// The end of a session
// -----------------------------------------------------------------------------

const endsSession = (errno: number | undefined, code: string, isMariaDb: boolean | undefined): boolean =>
  errno === undefined
    ? connectionCode.test(code)
    : connection.has(errno) || errno === packetTooLarge || (isMariaDb === false && mySqlOnly.has(errno))

/** The server closes the connection after it. */
const packetTooLarge = 1153

/** Of mysql2, of sockets, of name services, and of TLS. */
const connectionCode =
  /^(?:PROTOCOL_(?!SEQUENCE_TIMEOUT)|HANDSHAKE_|ERR_SSL_|ERR_TLS_|ERR_STREAM_|ERR_SOCKET_|ER_CLIENT_INTERACTION_TIMEOUT$|E(?:CONN|HOST|NET|ADDR|TIMEDOUT|PIPE|PROTO|AI_|NOTFOUND|NOTCONN)|CERT_|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_)/

/** Of a Unix socket, when it is connected to. Later, such a code is that of a file. */
const socketCode = /^E(?:ACCES|NOENT|PERM|MFILE)$/

/** What mysql2 says of a connection that it has closed, without a code. */
const isClosedState = (cause: unknown): boolean => {
  const { fatal, message } = propertiesOf(cause)
  return fatal === true && message.includes("closed state")
}

// -----------------------------------------------------------------------------
// What an error says
// -----------------------------------------------------------------------------

const messageOf = (cause: unknown, what: string): string => {
  const { code, errno } = propertiesOf(cause)
  const text = textOf(cause)
  const number = errno === undefined || errno < 0 ? "" : ` (${errno})`
  const hint = errno === undefined ? undefined : hints.get(errno)
  const said = text === "" ? code : text
  return `${what}${said === "" ? "" : `: ${said}`}${number}${hint === undefined ? "" : `. ${hint}`}`
}

/** Where several addresses were tried, the error that holds all their errors has no message of its own. */
const textOf = (cause: unknown): string => {
  const { errors, message } = propertiesOf(cause)
  return message !== "" || !Array.isArray(errors)
    ? message
    : [...new Set(errors.map((_) => propertiesOf(_).message))].join("; ")
}

const hints = new Map<number, string>([
  [1153, "Raise max_allowed_packet of the server, or send less at once"],
  [1295, "Run it unprepared: sql`…`.unprepared"],
  [1461, "Lower maxPreparedStatements of MysqlDriver, or raise max_prepared_stmt_count of the server"]
])

/** `Duplicate entry 'x' for key 'users.email'`: MySQL names the table as well, MariaDB the key alone. It comes last. */
const constraintOf = (cause: unknown): string => {
  const match = /^[^]*\bfor key\s+(?:'([^']*)'|`([^`]*)`|(\S+))/i.exec(textOf(cause))
  return (match?.[1] ?? match?.[2] ?? match?.[3] ?? "").trim() || "unknown"
}

const propertiesOf = (cause: unknown) => {
  const { code, errno, errors, fatal, message, sqlState } = (
    typeof cause === "object" && cause !== null ? cause : {}
  ) as Readonly<Record<string, unknown>>
  return {
    // Sockets have an errno as well: it is negative, and its code says the same.
    errno:
      typeof errno === "number" && errno > 0
        ? errno
        : typeof code === "number" && code > 0
          ? code
          : undefined,
    code: typeof code === "string" ? code : "",
    sqlState: typeof sqlState === "string" ? sqlState : "",
    message: typeof message === "string" ? message : "",
    fatal,
    errors
  }
}

const isErrorWith = (cause: unknown): cause is { fatal?: unknown } =>
  typeof cause === "object" && cause !== null && Object.isExtensible(cause)
