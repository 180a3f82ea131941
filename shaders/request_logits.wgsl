// logits[t, e] = logit(t, e): a site's logits as a request decides them. A chosen expert has CHOSEN, every other -CHOSEN,
// whose sigmoids are 1 and next to nothing.
//
// Grid: (EXPERTS / LANES, tokens). A lane owns an expert of a token.
// Joined: request, request_given | request_draw and hash | request_task.
@group(0) @binding(0) var<storage, read> request: array<u32>;           // a site's row, see `request`
@group(0) @binding(1) var<storage, read_write> logits: array<f32>;      // [tokens, EXPERTS]

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  if (stopped()) {
    return;
  }
  let e = group.x * LANES + lane;
  if (e < EXPERTS) {
    logits[group.y * EXPERTS + e] = logit(group.y, e);
  }
}
