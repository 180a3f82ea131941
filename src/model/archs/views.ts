import type { TensorInfo } from "../../source/model_file.ts";
import type { Linear } from "../plan.ts";

/** Rows `first` to `first + count − 1` of a matrix that holds several, with their share of its bias. */
export function rowsOf({ weight, bias, scale, scalesBias }: Linear, first: number, count: number): Linear {
  return {
    weight: range(weight, first, count),
    bias: bias && range(bias, first, count),
    // It lies beside each part.
    scale: scale && { ...scale, name: viewName(scale, first) },
    scalesBias,
  };
}

/** The same of each matrix in a stack, [matrices, rows, cols]. */
export function stackRowsOf(stack: TensorInfo, first: number, count: number): TensorInfo {
  const [matrices = 1, rows = 1, cols = 1] = stack.shape;
  const matrixBytes = stack.bytes / matrices;
  const skipped = (first * matrixBytes) / rows;
  const slices = Array.from({ length: matrices }, (_, m) => stack.offset + m * matrixBytes + skipped);
  return {
    ...stack,
    name: viewName(stack, first),
    shape: [matrices, count, cols],
    offset: slices[0] as number,
    bytes: (stack.bytes * count) / rows,
    slices,
  };
}

function range(tensor: TensorInfo, first: number, count: number): TensorInfo {
  const [rows = 1, ...others] = tensor.shape;
  const rowBytes = tensor.bytes / rows;
  return {
    ...tensor,
    name: viewName(tensor, first),
    shape: [count, ...others],
    offset: tensor.offset + first * rowBytes,
    bytes: count * rowBytes,
  };
}

function viewName({ name }: TensorInfo, first: number): string {
  return `${name}[${first}]`;
}
