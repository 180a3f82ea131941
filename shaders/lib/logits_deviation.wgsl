// The gate reads the logits with a standard deviation of DEVIATION, of n − 1 degrees; their mean goes along. Logits that are
// all equal stay.
var<private> stretch: f32;

fn read_all(t: u32, lane: u32) {
  var sum = 0.0;
  for (var e = lane; e < EXPERTS; e += LANES) {
    let l = logits[t * EXPERTS + e];
    sum += select(0.0, l, is_number(l));
  }
  let mean = reduce_sum(sum, lane) / f32(EXPERTS);
  var squares = 0.0;
  for (var e = lane; e < EXPERTS; e += LANES) {
    let l = logits[t * EXPERTS + e] - mean;
    squares += select(0.0, l * l, is_number(l));
  }
  let deviation = sqrt(reduce_sum(squares, lane) / f32(EXPERTS - 1u));
  stretch = select(1.0, DEVIATION / deviation, deviation > 0.0);
}

fn gated(l: f32, e: u32) -> f32 {
  return stretch * l;
}
