import { defineConfig } from "vitest/config";

// Most tests are of pure functions; those that need a page say so in their first line.
export default defineConfig({ test: { include: ["test/**/*.test.ts"] } });
