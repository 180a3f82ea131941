"""Logits and greedy continuations by llama.cpp, for `make.ts`.

usage: llama_cpp.py FOLDER MODEL.gguf TOKENS CONTEXT < prompt.json

FOLDER has libllama of llama.cpp v0.5.0 and its ggml libraries for x86-64 Linux: `npm pack @node-llama-cpp/linux-x64@3.22.1`
(or installing that package) in a temporary folder gives `bins/linux-x64`, which has them.

Reads a prompt, a JSON list of token ids, and prints a JSON object: `logits`, for every position of the prompt base64 of
little-endian floats; `greedy`, TOKENS ids; `margin`, the least distance of a greedy token's logit from the next best.
No flash attention, keys and values in F32: with a model in F32, nothing is rounded on the way.
"""
import array, base64, glob, json, sys
import ctypes as C

FOLDER, MODEL, TOKENS, CONTEXT = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])


def library(name):
    """The file's name may have a version in it."""
    paths = [*glob.glob(f"{FOLDER}/lib{name}.so"), *glob.glob(f"{FOLDER}/lib{name}.v*.so")]
    return C.CDLL((paths or [f"{FOLDER}/lib{name}.so"])[0], mode=C.RTLD_GLOBAL)


class Params(C.Structure):
    """Parameters are passed by value in memory: of a structure larger than theirs only the start is read."""
    _fields_ = [("words", C.c_int32 * 256)]


class Batch(C.Structure):
    _fields_ = [("count", C.c_int32), ("token", C.POINTER(C.c_int32)), ("embd", C.c_void_p),
                ("pos", C.POINTER(C.c_int32)), ("seq_ids", C.POINTER(C.c_int32)),
                ("seq_id", C.POINTER(C.POINTER(C.c_int32))), ("logits", C.POINTER(C.c_int8))]


_, ggml, llama = library("ggml-base"), library("ggml"), library("llama")


def call(name, result, *arguments):
    """Calls llama_<name>; whole numbers are pointers."""
    function = getattr(llama, "llama_" + name)
    function.restype = result
    return function(*(C.c_void_p(a) if isinstance(a, int) else a for a in arguments))


def context_params():
    """As the docstring above says. The fields' places are those of v0.5.0, checked by the default values."""
    params = call("context_default_params", Params)
    for place, default, value in [
            (0, [512, 2048, 512], [CONTEXT] * 3),  # n_ctx, n_batch, n_ubatch
            (7, [4, 4], [1, 1]),  # n_threads, n_threads_batch
            (13, [-1], [0]),  # flash_attn_type
            (26, [1, 1], [0, 0])]:  # type_k, type_v
        fields = slice(place, place + len(default))
        assert params.words[fields] == default, "another version of llama.cpp"
        params.words[fields] = value
    return params


def logits_of(context, batch, tokens, start):
    """Of every token; they follow `start` others."""
    batch.count = len(tokens)
    for i, token in enumerate(tokens):
        batch.token[i], batch.pos[i], batch.seq_ids[i], batch.logits[i] = token, start + i, 1, 1
        batch.seq_id[i][0] = 0
    if call("decode", C.c_int32, context, batch) != 0:
        sys.exit("llama_decode failed")
    rows = [call("get_logits_ith", C.POINTER(C.c_float), context, C.c_int32(i)) for i in range(len(tokens))]
    return [array.array("f", row[:vocabulary]) for row in rows]


messages = []
log = C.CFUNCTYPE(None, C.c_int, C.c_char_p, C.c_void_p)(lambda _, text, __: messages.append(text.decode()))
call("log_set", None, log, None)
ggml.ggml_backend_load_all_from_path(FOLDER.encode())
model = call("model_load_from_file", C.c_void_p, MODEL.encode(), call("model_default_params", Params))
if not model:
    sys.exit("".join(messages[-6:]))
vocabulary = call("vocab_n_tokens", C.c_int32, call("model_get_vocab", C.c_void_p, model))
context = call("init_from_model", C.c_void_p, model, context_params())
batch = call("batch_init", Batch, *map(C.c_int32, (CONTEXT, 0, 1)))

prompt = json.load(sys.stdin)
rows, greedy, margin = logits_of(context, batch, prompt, 0), [], float("inf")
last = rows[-1]
while len(greedy) < TOKENS:
    best, second = sorted(last)[-1:-3:-1]
    greedy.append(last.index(best))
    margin = min(margin, best - second)
    [last] = logits_of(context, batch, greedy[-1:], len(prompt) + len(greedy) - 1)
print(json.dumps({"logits": [base64.b64encode(row).decode() for row in rows], "greedy": greedy, "margin": margin}))
