import { serveEither } from "../src/serve_either.ts";

serveEither();
