/** Φ(x), the share of a standard normal distribution below x, to the last places of float64. */
export function normalBelow(x: number): number {
  return x < 0 ? tail(-x) : 1 - tail(x);
}

/** 1 − Φ(x) for x ≥ 0: erfc(z) / 2 at z = x / √2, by the series of erf where z is small, else by Laplace's continued fraction. */
function tail(x: number): number {
  const z = x / Math.SQRT2;
  if (z < 2) {
    let term = z;
    let sum = z;
    for (let n = 1; Math.abs(term) > 1e-18; n++) {
      term *= (-z * z) / n;
      sum += term / (2 * n + 1);
    }
    return 0.5 - sum / Math.sqrt(Math.PI);
  }
  let fraction = z;
  for (let n = 200; n > 0; n--) fraction = z + n / 2 / fraction;
  return Math.exp(-z * z) / (2 * Math.sqrt(Math.PI) * fraction);
}
