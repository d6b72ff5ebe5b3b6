"""Faults in what surrounds the formulas: precision modes, masks, overflow, promises, files, copies,
threads, settings of others, audits in processes, messages.

The checks are tests of the suite, by their place: they run in the process of the fault.
"""

from __future__ import annotations

from proofs_check.faults.fault import Fault, fault

_PRECISION = "tests/precision/test_roundoff.py"
_PRODUCTS = "tests/precision/test_products.py -k exact"
_MODES = "tests/precision/test_entry.py"
_HIDDEN = "tests/trust/test_hidden_keys.py -k 'exact or see'"
_PADDING = "tests/trust/test_transformer_padding.py -k 'exact or not_there'"
_LOOKED = "tests/trust/test_results_are_looked_at.py"
_STATES = "tests/trust/test_polynomials_states.py"
_THREADS = "tests/trust/test_polynomials_threads.py"
_FILES = "tests/proofs/report/test_whole_files.py -k 'arrives or comes or come or mode or trouble'"
_SETTINGS = "tests/trust/test_families_settings.py"
_MESSAGES = "tests/trust/test_messages.py"
_COPIES = "tests/trust/test_copies.py"
_QUIET = "tests/trust/test_quiet.py -k 'taylor-4 or cast or callers'"
_STORE = "tests/proofs/running/test_damaged_store.py -k leaves_the_file_alone"
_AUDIT = "tests/proofs/kit/test_isolated.py"
_CONDUCT = "tests/proofs/kit/test_conduct.py"

# Lists read best one fault below the other, in the same form.
FAULTS: tuple[Fault, ...] = (
    # the arithmetic that was analysed is not the one that runs
    fault("precision.products-forgotten", "rounding", "_arrays.precision", "unit_roundoff",
        "return Roundoff(product, step) if product else step", "return step",
        _PRODUCTS),
    fault("precision.one-product", "missing term", "_arrays.precision", "Roundoff.chain",
        "grown = p * math.log1p(self.product)", "grown = math.log1p(self.product)", _PRECISION),
    fault("precision.one-bit-more", "factor", "_arrays.precision", "_rounded_factors",
        "v = 2.0 ** (-bits)", "v = 2.0 ** (-bits - 1)", _PRECISION),
    fault("precision.best-of-several", "wrong tail", "_arrays.precision", "float32_products",
        "return max(found", "return min(found", _PRECISION),
    fault("precision.torch-tf32", "missing check", "_arrays.precision", "_torch",
        "elif _read(lambda matmul=matmul: matmul.allow_tf32):", "elif False:", _PRECISION),
    fault("precision.jax-default", "missing check", "_arrays.precision", "_jax",
        "'tpu': 'bfloat16'}.get(platform, 'tf32')", "'tpu': 'bfloat16'}.get(platform, 'float32')",
        _PRECISION),
    fault("precision.cupy-environment", "missing check", "_arrays.precision", "_cupy",
        "elif os.environ.get('CUPY_TF32', '0') not in ('', '0'):", "elif False:", _PRECISION),
    fault("precision.nvidia-override", "missing check", "_arrays.precision", "_nvidia",
        "if os.environ.get('NVIDIA_TF32_OVERRIDE', '0') not in ('', '0'):", "if False:",
        _PRECISION),
    fault("precision.onednn", "missing check", "_arrays.precision", "_onednn",
        "os.environ.get(name, '').upper()", "''", _PRECISION),
    fault("precision.state-outlives", "missing check", "_arrays.precision", "refuse_inexact",
        "if isinstance(unit_roundoff(array), Roundoff):", "if False:", _PRODUCTS),
    fault("entry.autocast-on-one-device", "missing check", "_arrays.entry", "_enter_torch",
        "if _autocast(torch, kind):", "if kind == 'cuda' and _autocast(torch, kind):", _MODES),
    fault("entry.jax-products", "missing check", "_arrays.entry", "_enter_jax",
        "if config.jax_default_matmul_precision is None:", "if False:", _MODES),
    fault("entry.jax-32-bits", "missing check", "_arrays.entry", "_enter_jax",
        "if not config.jax_enable_x64:", "if False:", _MODES),
    fault("entry.jax-overrules", "side effect", "_arrays.entry", "_enter_jax",
        "if config.jax_default_matmul_precision is None:", "if True:", _MODES),
    # what stands behind a mask
    fault("hidden.values", "leak", "_problem", "pose",
        "k, v = (hide(array, key_mask, xp) for array in (k, v))", "k = hide(k, key_mask, xp)",
        _HIDDEN),
    fault("hidden.keys", "leak", "_problem", "pose",
        "k, v = (hide(array, key_mask, xp) for array in (k, v))", "v = hide(v, key_mask, xp)",
        _HIDDEN),
    fault("hidden.range-of-values", "leak", "_problem", "Problem.value_range",
        "if self.key_mask is not None:", "if False:", _HIDDEN),
    fault("hidden.mask-layout", "leak", "_problem.masks", "check_mask",
        "return _arrays.contiguous(mask)", "return mask", _HIDDEN),
    fault("hidden.gradient", "leak", "bounds.returned", "as_input",
        "problem.shown(value)", "value", _LOOKED),
    fault("hidden.gradient-bound", "leak", "bounds.returned", "as_input",
        "np.where(shown, rows, 0.0)", "rows", _LOOKED),
    fault("hidden.quarantine", "leak", "_problem.input", "quarantine",
        "fine = fine | ~mask", "fine = fine", _HIDDEN),
    fault("hidden.padding-lent", "leak", "transformer.padding", "lent",
        "return xp.where(mask, x, row)", "return x", _PADDING),
    fault("hidden.padding-shown", "leak", "transformer.padding", "shown",
        "return x if mask is None else hide(x, mask, _arrays.namespace(x=x))", "return x",
        _PADDING),
    fault("hidden.padding-bounds", "leak", "transformer.padding", "shown_bounds",
        "return delta if mask is None else np.where(_arrays.to_host(mask), delta, 0.0)",
        "return delta", _PADDING),
    # results that overflow
    fault("returned.output", "missing check", "attend.calls", "_output",
        "rows, reasons = looked_at('the output', result.value, result.certificate.rows, problem)",
        "rows, reasons = (result.certificate.rows, ())", _LOOKED),
    fault("returned.gradient", "missing check", "bounds.returned", "as_input",
        "rows, why = looked_at(name, value, rows, problem)", "why = ()", _LOOKED),
    fault("returned.no-reason", "missing term", "bounds.returned", "looked_at",
        "(reason,) if news else ()", "()", _LOOKED),
    fault("returned.bound-without-reason", "missing term", "certificate", "_freeze",
        "gone = np.isnan(bounds) if certificate.unmet else ~np.isfinite(bounds)",
        "gone = np.isnan(bounds)", _LOOKED),
    fault("returned.nan-is-zero", "wrong formula", "certificate", "_freeze",
        "np.where(np.isnan(bounds), np.inf, bounds)", "np.where(np.isnan(bounds), 0.0, bounds)",
        _LOOKED),
    fault("returned.cotangent", "missing check", "_problem", "check_cotangent",
        "refuse_overflow('dv max|dout| max|v|', 4 * problem.dv * top * top_v, problem.dtype)",
        "pass", _LOOKED, _MESSAGES),
    fault("returned.failure-of-a-sum", "factor", "bounds.returned", "as_input",
        "certificate.failure * count", "certificate.failure", _LOOKED),
    fault("returned.failure-by-axes", "wrong formula", "bounds.returned", "as_input",
        "math.prod((problem.batch[i] for i in repeated))", "max(1, len(repeated))", _LOOKED),
    # promises
    fault("promise.not-asked", "missing check", "attend.calls", "_output",
        "held_to_promise(replace(result.certificate, rows=rows, unmet=unmet))",
        "replace(result.certificate, rows=rows, unmet=unmet)", _LOOKED),
    fault("promise.before-narrowing", "rounding", "attend.calls", "_output",
        "held_to_promise(replace(result.certificate, rows=rows, unmet=unmet))",
        "replace(held_to_promise(replace(result.certificate, rows=method.compute(problem, rng)"
        ".certificate.rows, unmet=unmet)), rows=rows)", _LOOKED),
    fault("promise.of-infinity", "missing check", "certificate", "held_to_promise",
        "missed = ~(bound <= allowed)", "missed = (bound > allowed) & np.isfinite(bound)", _LOOKED),
    # states from files
    fault("file.radius", "missing check", "methods.polynomials.folding.file", "_check_arrays",
        "_need(np.all(fields['radius'] >= 0), 'radius is negative')", "pass", _STATES),
    fault("file.count", "missing check", "methods.polynomials.folding.file", "_check_agreement",
        "_need(np.all(np.abs(sums[..., 0, -1] - count) <= 0.01 * count), "
        "'keys and sums disagree')", "pass", _STATES),
    fault("file.lengths", "missing check", "methods.polynomials.folding.file", "_check_agreement",
        "np.all(np.sum(squares, axis=-1) <= 1.01 * largest + 1e-30)", "True", _STATES),
    fault("file.polynomial", "missing check", "methods.polynomials.folding.file", "_polynomial",
        "same = polynomial.coefficients == tuple((float(c) for c in coefficients))", "same = True",
        _STATES),
    fault("file.sizes", "missing check", "methods.polynomials.folding.file", "_read_arrays",
        "stored and sizes <= whole", "True", _STATES),
    fault("file.damage", "missing check", "methods.polynomials.folding.file", "read_state",
        "except DAMAGE as error:", "except ValueError as error:", _STATES),
    fault("file.additions", "missing check", "methods.polynomials.folding.file", "_fields",
        "1 <= numbers['additions'] < 2 ** 62", "True", _STATES),
    fault("file.in-place", "side effect", "methods.polynomials.folding.file", "write_state",
        "with whole_file(path) as place, place.open('wb') as file:",
        "with path.open('wb') as file:", _STATES),
    # files of results
    fault("whole-file.left-over", "side effect", "whole_files", "whole_file",
        "temporary.unlink(missing_ok=True)", "pass", _FILES),
    fault("whole-file.in-place", "side effect", "whole_files", "whole_file",
        "yield temporary\n", "yield target\n", _FILES),
    fault("whole-file.link", "side effect", "whole_files", "whole_file",
        "target = path.resolve()", "target = path.absolute()", _FILES, _STATES),
    fault("whole-file.mode", "side effect", "whole_files", "whole_file",
        "shutil.copymode(target, temporary)", "pass", _FILES),
    fault("whole-file.half-a-letter", "missing check", "whole_files", "write_text",
        "text.encode('utf-8', 'backslashreplace')", "text.encode('utf-8')", _FILES),
    # copies
    fault("copies.facts-open", "wrong formula", "certificate", "ReadOnlyDict.__reduce__",
        "return (type(self), (dict(self),))", "return (dict, (dict(self),))", _COPIES),
    fault("copies.roundoff", "missing term", "_arrays.precision", "Roundoff.__getnewargs__",
        "return (self.product, self.step)", "return (self.product, 0.0)", _PRECISION),
    fault("copies.callers-array", "side effect", "certificate", "_frozen",
        "np.array(bounds, dtype=np.float64)", "np.asarray(bounds, dtype=np.float64)", _COPIES,
        _LOOKED),
    # threads and settings of others
    fault("threads.everybody-limits", "side effect", "monomials.workers", "BlasLimit._enter",
        "if not self._users:", "if True:", _THREADS),
    fault("threads.nobody-waits", "side effect", "monomials.workers", "BlasLimit._leave",
        "while self._users:", "while False:", _THREADS),
    fault("threads.allowed", "wrong formula", "monomials.workers", "BlasLimit.allowed",
        "return self._found if self._users else self._threads()", "return self._threads()",
        _THREADS),
    fault("threads.context", "side effect", "monomials.workers", "gather",
        "pool.submit(copy_context().run, task)", "pool.submit(task)", _THREADS),
    fault("quiet.errstate", "side effect", "_problem", "quietly",
        "with np.errstate(all='ignore'):", "with np.errstate():", _QUIET),
    # settings and messages
    fault("settings.small-integers", "missing check", "_arguments", "check_integer",
        "return int(value)", "return value",
        f"{_SETTINGS}::test_integers_of_numpy_are_integers"),
    fault("settings.flags", "missing check", "_arguments", "check_flag",
        "if not isinstance(value, bool | np.bool):", "if False:", _MESSAGES),
    fault("settings.memory", "missing check", "_arguments", "check_memory",
        "if needed > have:", "if False:", f"{_SETTINGS}::test_what_cannot_fit_is_announced"),
    fault("settings.degree", "missing check", "exponential.degree", "exp_polynomial",
        "degree = int(degree)", "pass", "tests/trust/test_numbers_of_numpy.py"),
    fault("messages.ambiguous-mask", "missing check", "_problem.masks", "_refuse_ambiguous",
        "if fits and _fits_left(given, batch):", "if False:", _MESSAGES),
    fault("messages.byte-order", "missing check", "_arrays", "compute_dtype_name",
        "if not getattr(array.dtype, 'isnative', True):", "if False:",
        "tests/precision/test_unreadable.py", _MESSAGES),
    fault("messages.policy", "missing term", "attend", "attention",
        "error.add_note(", "str(", _MESSAGES),
    # the store of evidence, and examinations in processes
    fault("store.copy-writes", "side effect", "proofs_check.running.evidence", "Evidence.__init__",
        "open_copy(self.path) if copy else open_to_write(self.path)", "open_to_write(self.path)",
        _STORE),
    fault("audit.what-it-started", "side effect", "proofs_check.kit.process", "Process.stop",
        "os.killpg(self._process.pid, signal.SIGKILL)", "self._process.kill()",
        f"{_AUDIT} -k starts"),
    fault("audit.time-in-all", "missing check", "proofs_check.kit.isolated", "_Home._told",
        "self._left -= time.monotonic() - started", "pass", f"{_AUDIT} -k hang"),
    fault("audit.gone", "missing check", "proofs_check.kit.isolated", "_Home._told",
        "except (EOFError, OSError):", "except OSError:", f"{_AUDIT} -k _exit"),
    fault("audit.prints", "missing check", "proofs_check.kit.isolated", "_Home._prints",
        "return [(SILENT, told(heard))]", "return []", f"{_AUDIT} -k conduct"),
    fault("audit.ends", "missing check", "proofs_check.kit.isolated", "_Home._told",
        "if self._starts == _MOST_ENDS:", "if False:", f"{_AUDIT} -k for_ever"),
    fault("audit.random-numbers", "missing check", "proofs_check.kit.conduct", "_random_state",
        "np.asarray(words).tobytes()", "b''", _CONDUCT),
)  # fmt: skip
