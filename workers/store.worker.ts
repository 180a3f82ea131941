import { type StoreRequest, serveStore } from "../src/store/serve.ts";

addEventListener("message", (event: MessageEvent<StoreRequest>) => serveStore(event.data));
