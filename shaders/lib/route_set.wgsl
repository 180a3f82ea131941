// A RouteSet has ROUTES rows per token, of which the first `count` are in use. The others name no expert.
struct Route {
  expert: u32,
  slot: u32,   // of the site's pool, or ABSENT
  weight: f32,
}

const ABSENT = 0xffffffffu;
