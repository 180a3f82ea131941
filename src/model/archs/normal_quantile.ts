/**
 * The x below which a standard normal variable lies with probability `p`, ±∞ for 1 and 0: to some 1e-12 for p from 1e-5
 * to 1 − 1e-5.
 */
export function normalQuantile(p: number): number {
  if (p < 0.5) return -normalQuantile(1 - p);
  if (p >= 1) return Number.POSITIVE_INFINITY;
  // Newton from the left on a function that is concave there: never past the root, and so without end only by rounding.
  let x = 0;
  for (;;) {
    const next = x + (p - 0.5 - aboveMiddle(x)) / density(x);
    if (!(next > x)) return x;
    x = next;
  }
}

function density(x: number): number {
  return Math.exp((-x * x) / 2) / Math.sqrt(2 * Math.PI);
}

/** Φ(x) − 1/2 = φ(x) · (x + x³/3 + x⁵/(3·5) + …), whose terms all have one sign. */
function aboveMiddle(x: number): number {
  let [term, sum] = [x, 0];
  for (let n = 1; sum + term !== sum; n += 2) {
    sum += term;
    term *= (x * x) / (n + 2);
  }
  return density(x) * sum;
}
