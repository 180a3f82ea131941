/**
 * The embedded model's greedy continuation of one prompt, as llama.cpp computes it on the same weights in f32.
 */
export const golden = {
  prompt: "once upon a time, there was a little",
  promptTokens: [400, 421, 258, 375, 44, 369, 280, 258, 367],
  tokens: [415, 503, 408, 46, 289, 504, 267, 361, 673],
  text: " girl named lily. she loved to play outside",
  vocabulary: 2048,
} as const;
