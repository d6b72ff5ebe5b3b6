"""The long lane: tests that search, kill, train or run campaigns; all others are the quick lane.

`./run.sh test` runs both, `./run.sh test --quick` leaves the long lane out.
"""

from __future__ import annotations

from fnmatch import fnmatch

LONG = {
    "tests/estimators/test_certificates_hunt.py*": "thousands of problems against an oracle",
    "tests/estimators/test_gradient_hunt.py*": "gradients of many problems against ball arithmetic",
    "tests/checks/*": "planted faults, and whole suites in processes of their own",
    "tests/masks/test_masks_methods.py*": "every method under every mask",
    "tests/results/test_cost.py*": "every method measured and counted",
    "tests/trust/settings/test_huge_settings.py*": "every setting of every method, at ten sizes",
    "tests/estimators/test_yoso_gradient.py*": "means over many draws",
    "tests/estimators/test_yoso_sampling.py*": "means over many draws",
    "tests/estimators/test_polynomial_moments.py*": "hundreds of problems in extended precision",
    "tests/estimators/test_given_coefficients.py*": "a linear programme for every problem",
    "tests/estimators/test_fitted_polynomial.py*": "a linear programme for every problem",
    "tests/mathematics/test_majorants.py*": "polynomials looked at in high precision",
    "tests/mathematics/test_given.py*": "a linear programme for every polynomial",
    "tests/mathematics/test_parts.py*": "every scheme, shape and degree",
    "tests/trust/test_polynomials_promises.py*": "every tolerance in every dtype",
    "tests/trust/test_reproducers.py*": "reproducers in processes of their own",
    "tests/laws/*fitted-polynomial*": "a method that solves linear programmes",
    "tests/proofs/checkers/test_nearness.py*": "mutants of the catalogue",
    "tests/mathematics/test_tolerance.py*": "1,200 promises, each looked at",
    "tests/diagnosis/test_regime.py*sees_it": "searches for polynomials at every range",
    "tests/diagnosis/test_comparison.py*": "every method on real heads",
    "tests/examples/*": "training runs and drawings",
    "tests/transformer/test_transformer_certificates.py*": "a hundred models",
    "tests/transformer/test_transformer_tolerance.py*": "searches for degrees",
    "tests/transformer/test_transformer_memory.py*": "large models, their memory measured",
    "tests/proofs/running/test_campaign_survival.py*": "processes killed at random moments",
    "tests/sharding/test_killed.py*": "pools of processes that are killed",
    "tests/proofs/running/test_dask_workers.py*": "a cluster of processes",
    "tests/proofs/running/test_cli.py*": "whole commands in processes of their own",
    "tests/proofs/running/test_foreign_catalogue.py*": "campaigns about a user's theorems",
    "tests/proofs/running/test_evidence.py*": "crashes and time-outs of whole processes",
    "tests/proofs/running/test_terminal.py*": "every command in every encoding",
    "tests/proofs/running/test_damaged_store.py*": "every kind of damage with every command",
    "tests/proofs/checkers/test_falsify.py*": "searches, and confirmations in fresh processes",
    "tests/proofs/checkers/test_variants.py*": "confirmations in fresh processes",
    "tests/proofs/arithmetic/test_eprocesses.py*": "thousands of runs of a test",
    "tests/diagnosis/test_command_line.py*": "whole commands in processes of their own",
    "tests/mathematics/test_exponential.py*refusals*": "searches that end in vain",
    "tests/mathematics/test_exponential.py*minimal_degrees*": "searches for polynomials",
    "tests/trust/test_hidden_keys.py*": "every method behind every kind of rubbish",
    "tests/trust/test_transformer_padding.py*": "every layer behind every kind of rubbish",
    "tests/proofs/report/test_real_heads.py*": "every method on every head",
    "tests/proofs/report/*": "campaigns whose pages are looked at",
    "tests/proofs/faults/*": "faults in processes of their own",
    "tests/proofs/kit/*": "planted bugs, each examined in full",
    "tests/proofs/papers/*": "every theorem of the catalogue",
    "tests/proofs/checkers/test_checkers_can_fail.py*": "every mutant of the catalogue",
    "tests/proofs/hunt/*": "slices of the adversarial search",
    "tests/precision/*": "products rounded as matrix units round them, every method",
    "tests/trust/*scales*": "problems at extreme scales",
    "tests/transformer/test_transformer_extremes.py*": "layers at extreme scales",
    "tests/repository/test_add_a_method.py*brings_every_law*": "all laws once more",
    "tests/trust/test_quiet.py*": "every method at every scale",
    "tests/proofs/statements/test_verdict.py*exact_json*": "thousands of values written and read",
    "tests/mathematics/test_centring.py*no_error*": "500 problems in extended precision",
    "tests/estimators/test_anisotropic.py*error_above*": "hundreds of problems",
    "tests/estimators/test_gradient.py*structured*": "150 problems in extended precision",
    "tests/diagnosis/test_audit.py*many_error_distributions*": "2,000 populations",
    "tests/diagnosis/test_regime.py*real_heads*": "every head",
    "tests/proofs/running/test_code_digest.py*": "whole packages are read many times",
    "tests/laws/test_law_layout.py*": "every method on every layout of its arrays",
    "tests/laws/test_law_certificate.py*float32*": "the same law once more in float32",
    "tests/laws/test_law_certificate.py*fitted*": "a method that solves for its coefficients",
    "tests/laws/*bert-lsh-sparse*": "a method that lists pairs",
    "tests/laws/*anisotropic*": "a method that searches for a split",
    "tests/laws/*strict*": "the same law once more on the strict array library",
    "tests/laws/*forbidding*": "the same law once more on a device without host access",
    "tests/laws/*torch*": "the same law once more on PyTorch",
    "tests/frontends/test_torch*": "gradient checks, compilers and whole models",
    "tests/frontends/test_jax*": "compiles every call",
    "tests/laws/*yoso-*sure*": "a method that counts on many hashes",
    "tests/laws/*lsh-softmax*": "a method that draws many tables",
}
"""Patterns of test names, each with the reason why it takes long."""


def is_long(name: str) -> bool:
    """Whether a test belongs to the long lane, by the name of its node."""
    return any(fnmatch(name, pattern) for pattern in LONG)
