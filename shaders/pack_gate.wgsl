// gates[r, c] = scale · w[r, c] · norm[c] in f16: a router that reads the residual stream, its norm's weight folded in;
// norm[c] is 1 unless NORMED
//
// Grid: (ROWS / LANES, COLS / 32). A lane packs one group of 32 columns of a row: four units of 8 halves.
// Column-major as the weights are: unit u of row r lies at u · EXPERTS + r.
// Edges: what f16 cannot hold becomes ±65504; rows of no piece of this stack are left alone; a bias is not folded.
// Joined: dequant_*, the stack.
@group(0) @binding(0) var<storage, read> weights: array<vec4u>;
@group(0) @binding(1) var<storage, read> norm: array<vec4f>;           // the page; the norm starts at vector NORM
@group(0) @binding(2) var<storage, read_write> gates: array<vec4u>;    // [COLS / 8, EXPERTS] from vector BASE

const LARGEST = vec4f(65504.0);

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let row = group.x * LANES + lane;
  let g = group.y;
  if (row >= ROWS) {
    return;
  }
  let p = piece(row);
  let w = weight(p, g);
  for (var u = 0u; u < 4u; u++) {
    var a = scale(p) * w[2u * u];
    var b = scale(p) * w[2u * u + 1u];
    if (NORMED) {
      let c = NORM + g * 8u + 2u * u;
      a *= norm[c];
      b *= norm[c + 1u];
    }
    gates[BASE + (g * 4u + u) * EXPERTS + p.out] = vec4u(halves(a), halves(b));
  }
}

fn halves(values: vec4f) -> vec2u {
  let v = clamp(values, -LARGEST, LARGEST);
  return vec2u(pack2x16float(v.xy), pack2x16float(v.zw));
}
