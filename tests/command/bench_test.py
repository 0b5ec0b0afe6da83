# SPDX-License-Identifier: Apache-2.0
# The verb bench: its figures fit together and count what the specification of the model says; the plot shows them.
import json
import os
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree

RG = os.path.join(os.environ.get("BUILD", "build"), "recurrentgemma")
GOLDEN = "tests/data/golden"
KINDS = ["linear", "attention", "recurrence", "conv", "norm", "elementwise", "rope", "embed", "window_write", "head", "rest"]

passed = failed = 0


def check(sentence, is_true):
    global passed, failed
    passed += bool(is_true)
    failed += not is_true
    if not is_true:
        print("FAILED", sentence)


def run(*arguments, mask=None):
    environment = {name: value for name, value in os.environ.items() if name != "RG_CPU_MASK"}
    if mask is not None:
        environment["RG_CPU_MASK"] = mask
    return subprocess.run([RG, *arguments], capture_output=True, text=True, env=environment)


def bench(*arguments, mask=None):
    """The figures, from short measurements."""
    result = run("bench", *arguments, "--json", "--buffer", "16", mask=mask)
    check("bench %s succeeds: %s" % (" ".join(arguments), result.stderr), result.returncode == 0 and result.stderr == "")
    return json.loads(result.stdout) if result.returncode == 0 else None


def near(a, b):
    return abs(a - b) <= 1e-9 * abs(b)


def costs(facts, result, type_bytes):
    """Bytes and floating-point operations of a token, by sections 7.4 and 7.5 of the specification."""
    m, sizes = facts["model"], {t["name"]: t["bytes"] for t in facts["tensors"]}
    D, F, E, W, V, K = (m[key] for key in ("width", "mlp_width", "lru_width", "attention_window_size", "vocab_size", "conv1d_width"))
    H, d, block = m["num_heads"] * m["head_dim"], m["num_kv_heads"] * m["head_dim"], m["lru_width"] // m["num_gate_blocks"]
    layers, n_rec, n_att = m["n_layers"], m["n_recurrent_layers"], m["n_attention_layers"]
    linear = 2 * (layers * 3 * D * F + n_rec * (3 * D * E + 2 * E * block) + n_att * (2 * D * H + 2 * D * d))
    embedding = sizes["model.embed_tokens.weight"]
    inner, batch = sum(sizes.values()) - embedding, result["batch"]
    if result["phase"] == "prefill":
        T = result["prompt"]
        seen = sum(min(t, W) + 1 for t in range(T))
        return (inner * -(-T * batch // 512) + embedding) / (T * batch) + embedding / V, linear + 2 * V * D / T + 4 * H * n_att * seen / T
    n = min((result["first_position"] + result["last_position"]) / 2, W) + 1
    state = n_rec * (2 * 4 * E + (K - 1) * 2 * E * 4) + n_att * (2 * n * d + 2 * d) * type_bytes
    return (inner + embedding) / batch + embedding / V + state, linear + 2 * V * D + 4 * H * n_att * n


if "no demo model" in run("inspect", "demo").stderr:
    print("skipped: the demo model is not built in")
    sys.exit(77)

facts = json.loads(run("inspect", "demo", "--json", "--tensors").stdout)

with tempfile.TemporaryDirectory() as root:
    plot = os.path.join(root, "decode.svg")
    prompts, depths, batches = [8, 600], [0, 50, 300], [1, 3]
    all_of = bench("demo", "--prompt", "600,8", "--depth", "300,0,50", "--batch", "1,3", "--runs", "3", "--steps", "4", "--chunk", "512", "--profile", "--plot", plot, "-t", "2")
    check("the sections are those that are promised", list(all_of) == ["machine", "model", "opening", "results"])

    machine, model = all_of["machine"], all_of["model"]
    check("the processor has a name", machine["cpu"])
    check("the threads are those asked for", machine["threads"] == 2)
    check("of two bandwidths the larger counts", machine["bandwidth"] == max(machine["bandwidth_before"], machine["bandwidth_after"]) > 1e8)
    check("the way of reading is told", machine["bandwidth_access"])
    check("the buffer was as large as asked for", machine["bandwidth_buffer_bytes"] == 16 << 20)
    check("and is too small to believe", machine["bandwidth_buffer_is_small"] is True)
    check("there are peaks", machine["matrix_peak"] > 1e8 and machine["matrix_peak_registers"] > 1e8)
    check("the clock is the wall's", machine["clock"] == "wall")
    check("the model is what inspect tells", all(model[key] == facts["model"][key] for key in ("n_parameters", "weights_bytes", "weight_type", "width", "n_layers", "vocab_size")))
    check("opening took time", 0 < all_of["opening"]["seconds"] < 60 and all_of["opening"]["runs"] == 1)

    results = all_of["results"]
    conditions = [(r["phase"], r["prompt"], r["depth"], r["batch"]) for r in results]
    check("there is a result for each condition, in order", conditions == [("prefill", p, 0, b) for p in prompts for b in batches] + [("decode", 0, d, b) for d in depths for b in batches])
    for r in results:
        name = "%s %d %d x %d" % (r["phase"], r["prompt"], r["depth"], r["batch"])
        check(name + ": as many runs as asked for", r["runs"] == (3 if r["phase"] == "prefill" else 12))
        check(name + ": the median lies between the ends", 0 < r["slowest"] <= r["tokens_per_second"] <= r["fastest"])
        check(name + ": the spread lies within the ends", 0 <= r["spread"] <= r["tokens_per_second"] / r["slowest"] - r["tokens_per_second"] / r["fastest"] + 1e-9)
        check(name + ": the share of the bandwidth", near(r["bandwidth_share"], r["tokens_per_second"] * r["bytes_per_token"] / machine["bandwidth"]))
        check(name + ": the share of the peak", near(r["matrix_share"], r["tokens_per_second"] * r["flops_per_token"] / machine["matrix_peak"]))
        in_turn = r["bandwidth_in_turn"], r["bandwidth_share_in_turn"]
        check(name + ": memory is read between steps, and only there", in_turn[0] > 1e8 and in_turn[1] > 0 if r["phase"] == "decode" else in_turn == (None, None))
        if r["phase"] == "decode":  # two warm-up steps of each batch; the first state is in both, so it goes on by two each time
            check(name + ": the state had read as many tokens", r["first_position"] == r["depth"] + 4 + (r["batch"] == 3))
            check(name + ": and went on", r["last_position"] == r["first_position"] + 2 * (r["runs"] - 1))
        expected = costs(facts, r, 4 if model["window_type"] == "f32" else 2)
        check(name + ": bytes as specified, not %r but %r" % (r["bytes_per_token"], expected[0]), near(r["bytes_per_token"], expected[0]))
        check(name + ": operations as specified, not %r but %r" % (r["flops_per_token"], expected[1]), near(r["flops_per_token"], expected[1]))
        check(name + ": the profile names all kinds", list(r["profile"]) == KINDS)
        check(name + ": its shares make a whole", near(sum(r["profile"].values()), 1) and min(r["profile"].values()) >= 0)
        check(name + ": kernels that must take time do", min(r["profile"][kind] for kind in ("linear", "attention", "recurrence", "conv", "norm", "rope", "embed", "head")) > 0)
        check(name + ": most of it is in kernels", r["profile"]["rest"] < 0.9)

    image = ElementTree.parse(plot).getroot()
    svg = "{http://www.w3.org/2000/svg}"
    decoded = [r for r in results if r["phase"] == "decode"]
    points = [(float(c.get("cx")), float(c.get("cy")), c.find(svg + "title").text) for c in image.iter(svg + "circle")]
    shown = {(int(d), int(b)): (x, y, float(speed)) for x, y, title in points for d, b, speed in re.findall(r"depth (\d+), batch (\d+): ([\d.]+) tokens/s", title)}
    check("the picture has a size", image.tag == svg + "svg" and image.get("viewBox"))
    check("it has a point for each result of decoding", sorted(shown) == sorted((r["depth"], r["batch"]) for r in decoded))
    check("the points tell the speeds", all(abs(shown[r["depth"], r["batch"]][2] - r["tokens_per_second"]) < 0.01 for r in decoded))
    heights = [(480 - 70 - shown[r["depth"], r["batch"]][1], r["tokens_per_second"]) for r in decoded]
    check("their heights are proportional to them", max(h / s for h, s in heights) - min(h / s for h, s in heights) < 0.1 / min(s for h, s in heights))
    check("deeper is further right", shown[0, 1][0] < shown[50, 1][0] < shown[300, 1][0])
    labels = [t.text for t in image.iter(svg + "text")]
    check("the axes have units", any("tokens/s" in t for t in labels) and any("depth" in t for t in labels))
    check("every batch has its curve and its limit", len(list(image.iter(svg + "polyline"))) == 2 * len(batches))
    check("every depth has its tick", {"0", "50", "300"} <= set(labels))
    check("nothing lies outside", all(0 <= x <= 800 and 0 <= y <= 480 for x, y, _ in points))

    kernels = bench("examples/demo/model", "--kernels", "--compute", "f32")
    check("with --kernels nothing else is measured", kernels["results"] == [])
    rungs = {k["rung"] for k in kernels["kernels"]}
    seen = {(k["kernel"], k["rows"]) for k in kernels["kernels"]}
    check("every rung down to portable is there", "portable" in rungs and machine["rung"] in rungs)
    check("every kernel is there for one row, and most for many", len({k for k, rows in seen if rows == 1}) == 15 and len({k for k, rows in seen if rows == 512}) == 13)
    check("each on every rung", len(kernels["kernels"]) == len(rungs) * len(seen))
    for k in kernels["kernels"]:
        name = "%(kernel)s, %(rows)d rows, on %(rung)s" % k
        check(name + ": took time", k["seconds"] > 0 and k["times_reference"] > 0 and k["bytes_per_second"] > 0)
        check(name + ": gives what the reference gives, within %g of %g" % (k["difference"], k["largest"]), 0 <= k["difference"] <= 2e-5 * k["largest"] and k["largest"] > 0)

    folder = "%s/bf16-sharded" % GOLDEN
    opened = bench(folder, "--no-map", "--prompt", "8", "--depth", "none", "--runs", "2")
    n_bytes = sum(os.path.getsize(os.path.join(folder, name)) for name in os.listdir(folder) if name.endswith(".safetensors"))
    check("opening into memory stands beside a copy of the same bytes", opened["opening"]["copied_bytes"] == n_bytes and opened["opening"]["copy_seconds"] > 0)
    check("and beside one that maps the files anew", opened["opening"]["copy_anew_seconds"] > 0)
    check("and beside a mere reading of them", opened["opening"]["read_seconds"] > 0)
    check("and both were repeated", opened["opening"]["runs"] == 2)
    check("without depths there is no decoding", [r["phase"] for r in opened["results"]] == ["prefill"])
    check("no path is told", GOLDEN not in json.dumps(opened) and "bf16-sharded" not in json.dumps(opened))

    short = ("--prompt", "none", "--depth", "4", "--runs", "1", "--steps", "2")
    figures = bench("demo", *short, "--clock", "cpu", mask="none")
    check("RG_CPU_MASK chooses the rung", figures["model"]["kernels"].startswith("cpu portable") and figures["machine"]["rung"] == "portable")
    check("the other clock is told of", figures["machine"]["clock"] == "cpu")
    check("without prompts there is no prefill", [r["phase"] for r in figures["results"]] == ["decode"])
    mask = "0xffffffff"
    figures = bench("demo", *short, "--cpu-mask", mask, "--compute", "f32", mask="none")
    check("--cpu-mask goes before RG_CPU_MASK", figures["model"]["kernels"].split()[1] == all_of["model"]["kernels"].split()[1])
    check("the peak of whole numbers is that of float32 instructions", "bf16" not in figures["machine"]["rung"])
    figures = bench("demo", *short, "--backend", "reference", "--profile")
    check("other backends have profiles too", figures["model"]["backend"] == "reference" and figures["results"][0]["profile"]["recurrence"] > 0)
    figures = bench("%s/hawk" % GOLDEN, "--prompt", "8", "--depth", "0", "--runs", "1", "--steps", "2", "--profile", "-t", "1")
    check("a model without attention spends no time on it", all(r["profile"]["attention"] == r["profile"]["rope"] == 0 for r in figures["results"]))

    text = run("bench", "demo", *short, "--buffer", "16", "--profile")
    check("people get tables", text.returncode == 0 and "GB/s" in text.stdout and "tokens/s" in text.stdout and "recurrence" in text.stdout)

    for wrong in (["--prompt", "0"], ["--prompt", ""], ["--prompt", "1,,2"], ["--prompt", "1;2"], ["--prompt", "-1"], ["--depth", "x"], ["--depth", "99999999999999999999"],
                  ["--depth", ",".join("1" * 17)], ["--batch", "none"], ["--batch", "0"], ["--runs", "0"], ["--prompt", "none", "--depth", "none"],
                  ["--plot", plot, "--depth", "none"], ["--plot", plot, "--kernels"], ["--profile", "--backend", "/no/backend.so"], ["--cpu-mask", "sse9"], ["--cpu-mask", ""],
                  ["--clock", "sun"], ["--compute", "f64"], ["--layout", "sideways"], ["--chunk", "0"]):
        result = run("bench", "demo", *wrong)
        check("%s is a usage error" % " ".join(wrong), result.returncode == 2 and result.stdout == "" and "Try 'recurrentgemma bench --help'" in result.stderr)
    result = run("bench", "demo", *short, mask="avx1024")
    check("a wrong RG_CPU_MASK is one too", result.returncode == 2 and "RG_CPU_MASK" in result.stderr)
    result = run("bench", os.path.join(root, "nothing"))
    check("a model that is not there is a failure", result.returncode == 1 and result.stderr.count("\n") == 1)
    result = run("bench", "demo", *short, "--buffer", "16", "--plot", os.path.join(root, "no/where.svg"))
    check("a picture that cannot be written is a failure", result.returncode == 1 and result.stderr.count("\n") == 1)
    check("and the figures are printed nevertheless", "decode " in result.stdout)
    result = run("bench", "examples/demo/model", "--kernels", "--buffer", "16", "--runs", "1", "--json", "--cpu-mask", "none")
    check("kernels that the mask leaves out are not measured", {each["rung"] for each in json.loads(result.stdout)["kernels"]} == {"portable"})

print("%d passed, %d failed" % (passed, failed))
sys.exit(failed > 0)
