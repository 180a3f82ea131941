import { head_matmul_transposed } from "../../src/kernels/head_matmul_transposed.ts";
import { onHeads } from "./head_matrices.ts";

onHeads("head_matmul_transposed", head_matmul_transposed, true);
