import { SluiceError } from "../errors.ts";

/** A Content-Range header. `end` is the last byte, inclusive; `total` is undefined where the server wrote `*`. */
export interface ContentRange {
  readonly start: number;
  readonly end: number;
  readonly total: number | undefined;
}

/** undefined where the header is missing, hidden from this origin, or not a byte range. */
export function parseContentRange(headers: Headers): ContentRange | undefined {
  const match = headers.get("content-range")?.match(/^bytes (?:(\d+)-(\d+)|\*)\/(\d+|\*)$/);
  if (!match) return undefined;
  const [, start, end, total] = match;
  return {
    start: Number(start ?? 0),
    end: Number(end ?? -1),
    total: total === "*" ? undefined : Number(total),
  };
}

const CHECK_CONNECTION = "Check the connection and the address, then load again; what came is kept.";

/** fetch or the body's stream gave up without saying more than that. */
export function failed(url: string, cause: unknown): SluiceError {
  const reason = cause instanceof Error ? causeOf(cause) : String(cause);
  return new SluiceError("network", `${url} could not be fetched: ${reason}`, {
    remedy: `${CHECK_CONNECTION} Another origin must allow this page (CORS).`,
    details: { url, reason },
    cause,
  });
}

export function refused(url: string, status: number): SluiceError {
  return new SluiceError("network", `${url} answered with status ${status}`, {
    remedy: status === 404 ? "Check the address." : "Check the address and whether it needs a permission.",
    details: { url, status },
  });
}

export function cut(url: string, offset: number, expected: number, received: number): SluiceError {
  return new SluiceError("network", `${url}: ${expected} bytes were asked from ${offset}, ${received} came`, {
    remedy: CHECK_CONNECTION,
    details: { url, offset, expected, received },
  });
}

export function wrongRange(
  url: string,
  offset: number,
  bytes: number,
  size: number,
  got: ContentRange,
): SluiceError {
  const asked = `${offset}-${offset + bytes - 1}/${size}`;
  const answered = `${got.start}-${got.end}/${got.total ?? "*"}`;
  return new SluiceError("network", `${url}: bytes ${asked} were asked, ${answered} were answered`, {
    remedy: "The file changed on the server, or a proxy answers wrongly: load again.",
    details: { url, asked, answered },
  });
}

/** Node hides the reason ("ECONNREFUSED") in the cause; browsers give none. */
function causeOf(error: Error): string {
  return error.cause instanceof Error ? `${error.message} (${error.cause.message})` : error.message;
}
