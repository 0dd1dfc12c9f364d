// Ends the thread that loads it.
process.exit(1)

export const never = (): number => 1
