// logits[d, e] = Σ_c gates[t, e, c] · x[c] / sqrt(mean_c(x[c]²) + EPSILON),  t = source + 1 + d,  x the residual
// stream of one token at the source site: guesses at the routes of the sites that follow (Fate).
// CENTRED the mean of x is subtracted from it first: Σ g · (x − m) = Σ g · x − m · Σ g, mean((x − m)²) = mean(x²) − m².
// Not NORMED nothing divides.
// The source is a site the program knows, or AT_FAULT the one in the fault word: before the first where that is
// ABSENT, none where it is DAMAGED.
//
// Grid: (EXPERTS / LANES, lookahead). A lane owns one expert, reads the unit beside its neighbour's, and sums the
// squares itself on its way along x, so that no lane waits for another.
// Edges: targets that `gates` does not hold are left alone. AT_FAULT the step runs at a fault, else it stops.
@group(0) @binding(0) var<storage, read> gates: array<vec4u>;         // [SITES, COLS / 8, EXPERTS] from vector BASE
@group(0) @binding(1) var<storage, read> x: array<vec4f>;             // [tokens, COLS / 4], of which row 0
@group(0) @binding(2) var<storage, read_write> logits: array<f32>;    // [lookahead, EXPERTS]

const DAMAGED = 0xfffffffeu;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  if (select(stopped(), fault == DAMAGED, AT_FAULT)) {
    return;
  }
  // The site after the one in the fault word, ABSENT + 1 being 0. A known source counts from the first site bound.
  let first = select(0u, fault + 1u, AT_FAULT);
  let site = first + group.y - FIRST_SITE;
  let expert = group.x * LANES + lane;
  if (site >= SITES || expert >= EXPERTS) {
    return;
  }
  let start = BASE + site * (COLS / 8u) * EXPERTS + expert;
  var sum = vec4f();
  var squares = vec4f();
  var entries = vec4f();
  var gate_entries = vec4f();
  for (var u = 0u; u < COLS / 8u; u++) {
    let w = gates[start + u * EXPERTS];
    let a = x[2u * u];
    let b = x[2u * u + 1u];
    let gate_a = vec4f(unpack2x16float(w.x), unpack2x16float(w.y));
    let gate_b = vec4f(unpack2x16float(w.z), unpack2x16float(w.w));
    sum += gate_a * a;
    sum += gate_b * b;
    if (NORMED) {
      squares += a * a + b * b;
    }
    if (CENTRED) {
      entries += a + b;
      gate_entries += gate_a + gate_b;
    }
  }
  var logit = dot(sum, vec4f(1.0));
  var square = dot(squares, vec4f(1.0)) / f32(COLS);
  if (CENTRED) {
    let mean = dot(entries, vec4f(1.0)) / f32(COLS);
    logit -= mean * dot(gate_entries, vec4f(1.0));
    square = max(square - mean * mean, 0.0);
  }
  if (NORMED) {
    logit *= inverseSqrt(square + EPSILON);
  }
  logits[group.y * EXPERTS + expert] = logit;
}
