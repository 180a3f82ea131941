// The routes themselves, where the tiles are read from `tiles` and `pairs`.
@group(0) @binding(5) var<storage, read> routes: array<Route>; // [tokens, ROUTES]
