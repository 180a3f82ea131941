/** Turns ids into text as they arrive and never emits half a character. */
export interface StreamingDetokenizer {
  /** The text that `id` completes; "" while a character is unfinished. */
  push(id: number): string;
  /** What is left at the end; an unfinished character becomes U+FFFD. */
  flush(): string;
}
