/**
 * Servers, databases and faults for tests.
 *
 * @since 0.1.0
 */
export * as DatabaseConnectorTest from "./DatabaseConnectorTest.ts"
export * as Faults from "./Faults.ts"
export * as TestServers from "./TestServers.ts"
