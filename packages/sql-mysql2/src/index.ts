/**
 * MySQL and MariaDB for the connection pools of `@cenote/sql`.
 *
 * @since 0.1.0
 */
export * as MysqlDriver from "./MysqlDriver.ts"
