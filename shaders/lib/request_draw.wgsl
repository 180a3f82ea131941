// `drawnExpert` of model/route_request.ts draws the same.
fn logit(t: u32, e: u32) -> f32 {
  let place = select(0u, params.position + t, EACH_TOKEN);
  return select(-CHOSEN, CHOSEN, hash(request[SEED] ^ hash(place)) % EXPERTS == e);
}
