import { head_matmul } from "../../src/kernels/head_matmul.ts";
import { onHeads } from "./head_matrices.ts";

onHeads("head_matmul", head_matmul, false);
