// A site's row of what a request says: a seed that no other site has, the task, and a bit for each expert that is named.
const SEED = 0u;
const TASK = 1u;
const NAMED = 2u;

const CHOSEN = 80.0;
