import { serveEither } from "../src/serve_either.ts";

/** The same with all families: a build leaves out of the first script what `scripts/first_script.ts` lists. */
serveEither();
