"""Where the statements of this folder come from."""

CITATION = (
    "Aggarwal & Alman, Optimal-Degree Polynomial Approximations for Exponentials and Gaussian "
    "Kernel Density Estimation, CCC 2022"
)
