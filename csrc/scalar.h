// Every pointwise op, one line each: the only place where its maths is written in C++. CPU kernels (every instruction set), CUDA and
// the tests expand the same lines, by defining the macros they want before including this file (no include guard: it is a list).
//
//   MG_OP<n>(name, class, result, operands..., expression)
//     class   F float and double only | N also int64 … uint8 | A also bool | I integers and bool only
//     result  SAME dtype as computed in | BOOL
//   T is the type computed in: float, double, scalar::Int<…>, or a whole register simd::Vec<…>. So: no branches, choose with select();
//   constants as T(0.5); functions are found by argument type (scalar_math.h, simd/vecmath.h). float16 and bfloat16 compute in float.
//   MG_DIV2 is MG_OP2 whose second operand must not be 0 for integers (the kernel reports it). MG_WHERE's first operand is a bool mask.
//   `name_unit` is the form used when the last operand (alpha, value) is 1. Attributes (alpha, negative_slope …) are operands like any
//   other, in the order of the op's signature. NaN propagates unless a line says otherwise.
// Adding an op: one line here, one declaration in minigrad/ops/. Long scalar functions (Bessel, zeta …) are rows of
// cpu/pointwise_special_isa.cpp instead.

#ifndef MG_OP1
#define MG_OP1(...)
#endif
#ifndef MG_OP2
#define MG_OP2(...)
#endif
#ifndef MG_OP3
#define MG_OP3(...)
#endif
#ifndef MG_OP4
#define MG_OP4(...)
#endif
#ifndef MG_DIV2
#define MG_DIV2(...)
#endif
#ifndef MG_WHERE
#define MG_WHERE(...)
#endif

// --- arithmetic of one operand ----------------------------------------------------------------------------------------------------
MG_OP1(neg, A, SAME, x, -x)
MG_OP1(abs, A, SAME, x, abs(x))
MG_OP1(sign, A, SAME, x, select(x > T(0), T(1), select(x < T(0), T(-1), T(0))))  // NaN gives 0, as in PyTorch
MG_OP1(sgn, A, SAME, x, select(x > T(0), T(1), select(x < T(0), T(-1), T(0))))
MG_OP1(conj_physical, A, SAME, x, x)
MG_OP1(angle, F, SAME, x, select(isnan(x), x, select(x < T(0), T(3.14159265358979323846), T(0))))
MG_OP1(square, A, SAME, x, x * x)
MG_OP1(cube, A, SAME, x, x * x * x)  // x ** 3
MG_OP1(sqrt, F, SAME, x, sqrt(x))
MG_OP1(rsqrt, F, SAME, x, T(1) / sqrt(x))
MG_OP1(reciprocal, F, SAME, x, T(1) / x)
MG_OP1(floor, N, SAME, x, floor(x))
MG_OP1(ceil, N, SAME, x, ceil(x))
MG_OP1(trunc, N, SAME, x, trunc(x))
MG_OP1(round_even, N, SAME, x, rint(x))
MG_OP1(frac, F, SAME, x, x - trunc(x))
MG_OP1(deg2rad, F, SAME, x, x * T(0.017453292519943295769))
MG_OP1(rad2deg, F, SAME, x, x * T(57.295779513082320877))
MG_OP1(isnan, A, BOOL, x, isnan(x))
MG_OP1(isinf, A, BOOL, x, isinf(x))
MG_OP1(isfinite, A, BOOL, x, isfinite(x))
MG_OP1(signbit, A, BOOL, x, signbit(x))
MG_OP1(logical_not, A, BOOL, x, x == T(0))
MG_OP1(bitwise_not, I, SAME, x, ~x)

// --- exponentials, logarithms, trigonometry, special functions ----------------------------------------------------------------------
MG_OP1(exp, F, SAME, x, exp(x))
MG_OP1(exp2, F, SAME, x, exp2(x))
MG_OP1(expm1, F, SAME, x, expm1(x))
MG_OP1(log, F, SAME, x, log(x))
MG_OP1(log2, F, SAME, x, log2(x))
MG_OP1(log10, F, SAME, x, log10(x))
MG_OP1(log1p, F, SAME, x, log1p(x))
MG_OP1(sin, F, SAME, x, sin(x))
MG_OP1(cos, F, SAME, x, cos(x))
MG_OP1(tan, F, SAME, x, tan(x))
MG_OP1(asin, F, SAME, x, asin(x))
MG_OP1(acos, F, SAME, x, acos(x))
MG_OP1(atan, F, SAME, x, atan(x))
MG_OP1(sinh, F, SAME, x, sinh(x))
MG_OP1(cosh, F, SAME, x, cosh(x))
MG_OP1(tanh, F, SAME, x, tanh(x))
MG_OP1(asinh, F, SAME, x, asinh(x))
MG_OP1(acosh, F, SAME, x, acosh(x))
MG_OP1(atanh, F, SAME, x, atanh(x))
MG_OP1(sigmoid, F, SAME, x, sigmoid(x))
MG_OP1(erf, F, SAME, x, erf(x))
MG_OP1(erfc, F, SAME, x, erfc(x))
MG_OP1(erfinv, F, SAME, x, erfinv(x))
MG_OP1(lgamma, F, SAME, x, lgamma(x))
MG_OP1(digamma, F, SAME, x, digamma(x))
MG_OP1(entr, F, SAME, x, select(x > T(0), -x * log(x), select(x < T(0), T(-__builtin_inf()), x * T(0))))
MG_OP1(ndtr, F, SAME, x, ndtr(x))
MG_OP1(sinc, F, SAME, x, sinc(x))

// --- activations ------------------------------------------------------------------------------------------------------------------
MG_OP1(relu, N, SAME, x, maximum(x, T(0)))
MG_OP1(relu6, N, SAME, x, minimum(maximum(x, T(0)), T(6)))
MG_OP1(silu, F, SAME, x, silu(x))
MG_OP1(gelu_erf, F, SAME, x, gelu(x))
MG_OP1(gelu_tanh, F, SAME, x, gelu_tanh(x))
MG_OP1(softsign, F, SAME, x, x / (T(1) + abs(x)))
MG_OP1(logsigmoid, F, SAME, x, minimum(x, T(0)) - log1p(exp(-abs(x))))
MG_OP1(hardsigmoid, F, SAME, x, minimum(maximum(x + T(3), T(0)), T(6)) / T(6))
MG_OP1(hardswish, F, SAME, x, x * (minimum(maximum(x + T(3), T(0)), T(6)) / T(6)))
MG_OP1(mish, F, SAME, x, mish(x))
MG_OP1(selu, F, SAME, x, select(x > T(0), T(1.0507009873554804934) * x, T(1.7580993408473768599) * expm1(x)))
MG_OP1(tanhshrink, F, SAME, x, tanhshrink(x))
MG_OP2(leaky_relu, F, SAME, x, slope, select(x > T(0), x, x * slope))
MG_OP2(elu, F, SAME, x, alpha, select(x > T(0), x, alpha * expm1(x)))
MG_OP2(celu, F, SAME, x, alpha, select(x > T(0), x, alpha * expm1(x / alpha)))
MG_OP2(hardshrink, F, SAME, x, lambd, select((x >= -lambd) & (x <= lambd), T(0), x))
MG_OP2(softshrink, F, SAME, x, lambd, select(x > lambd, x - lambd, select(x < -lambd, x + lambd, x * T(0))))
MG_OP3(hardtanh, N, SAME, x, lo, hi, minimum(maximum(x, lo), hi))
MG_OP3(threshold, N, SAME, x, limit, value, select(x <= limit, value, x))
MG_OP3(softplus, F, SAME, x, beta, limit, select(x * beta > limit, x, (maximum(x * beta, T(0)) + log1p(exp(-abs(x * beta)))) / beta))

// --- two operands -----------------------------------------------------------------------------------------------------------------
MG_OP2(add_unit, A, SAME, x, y, x + y)
MG_OP2(sub_unit, A, SAME, x, y, x - y)
MG_OP3(add, A, SAME, x, y, alpha, x + alpha * y)
MG_OP3(sub, A, SAME, x, y, alpha, x - alpha * y)
MG_OP2(mul, A, SAME, x, y, x * y)
MG_OP2(true_divide, F, SAME, x, y, x / y)
MG_DIV2(floor_divide, A, SAME, x, y, floor_divide(x, y))
MG_DIV2(trunc_divide, A, SAME, x, y, trunc_divide(x, y))
MG_DIV2(remainder, A, SAME, x, y, remainder(x, y))
MG_DIV2(fmod, A, SAME, x, y, fmod(x, y))
MG_OP2(pow, A, SAME, x, y, pow(x, y))
MG_OP2(maximum, A, SAME, x, y, maximum(x, y))
MG_OP2(minimum, A, SAME, x, y, minimum(x, y))
MG_OP2(fmax, A, SAME, x, y, select(isnan(x) | (y > x), y, x))  // NaN loses
MG_OP2(fmin, A, SAME, x, y, select(isnan(x) | (y < x), y, x))
MG_OP2(clamp_min, A, SAME, x, lo, maximum(x, lo))
MG_OP2(clamp_max, A, SAME, x, hi, minimum(x, hi))
MG_OP2(atan2, F, SAME, y, x, atan2(y, x))
MG_OP2(hypot, F, SAME, x, y, hypot(x, y))
MG_OP2(copysign, F, SAME, x, y, copysign(x, y))
MG_OP2(nextafter, F, SAME, x, y, nextafter(x, y))
MG_OP2(logaddexp, F, SAME, x, y, select(x == y, x + T(0.69314718055994530942), maximum(x, y) + log1p(exp(-abs(x - y)))))
MG_OP2(logaddexp2, F, SAME, x, y, select(x == y, x + T(1), maximum(x, y) + log1p(exp2(-abs(x - y))) * T(1.44269504088896340736)))
MG_OP2(xlogy, F, SAME, x, y, select(isnan(y), y, select(x == T(0), T(0), x * log(y))))
MG_OP2(xlog1py, F, SAME, x, y, select(isnan(y), y, select(x == T(0), T(0), x * log1p(y))))
MG_OP2(heaviside, A, SAME, x, values, select(isnan(x), x, select(x == T(0), values, select(x > T(0), T(1), T(0)))))
MG_OP2(eq, A, BOOL, x, y, x == y)
MG_OP2(ne, A, BOOL, x, y, x != y)
MG_OP2(lt, A, BOOL, x, y, x < y)
MG_OP2(le, A, BOOL, x, y, x <= y)
MG_OP2(gt, A, BOOL, x, y, x > y)
MG_OP2(ge, A, BOOL, x, y, x >= y)
MG_OP2(logical_and, A, BOOL, x, y, (x != T(0)) & (y != T(0)))
MG_OP2(logical_or, A, BOOL, x, y, (x != T(0)) | (y != T(0)))
MG_OP2(logical_xor, A, BOOL, x, y, (x != T(0)) ^ (y != T(0)))
MG_OP2(bitwise_and, I, SAME, x, y, x & y)
MG_OP2(bitwise_or, I, SAME, x, y, x | y)
MG_OP2(bitwise_xor, I, SAME, x, y, x ^ y)
MG_OP2(bitwise_left_shift, I, SAME, x, y, shift_left(x, y))    // amounts < 0 or >= width: 0
MG_OP2(bitwise_right_shift, I, SAME, x, y, shift_right(x, y))  // amounts < 0 or >= width: the sign, -1 or 0
MG_OP2(gcd, I, SAME, x, y, gcd(x, y))
MG_OP2(lcm, I, SAME, x, y, lcm(x, y))

// --- three and four operands --------------------------------------------------------------------------------------------------------
MG_WHERE(where, A, SAME, mask, x, y, select(mask, x, y))
MG_OP3(clamp_both, A, SAME, x, lo, hi, minimum(maximum(x, lo), hi))
MG_OP3(lerp, F, SAME, x, end, w, select(abs(w) < T(0.5), x + w * (end - x), end - (end - x) * (T(1) - w)))
MG_OP3(addcmul_unit, A, SAME, x, a, b, x + a * b)
MG_OP3(addcdiv_unit, F, SAME, x, a, b, x + a / b)
MG_OP4(addcmul, A, SAME, x, a, b, value, x + value * a * b)
MG_OP4(addcdiv, F, SAME, x, a, b, value, x + value * (a / b))
MG_OP4(replace_nonfinite, F, SAME, x, nan, posinf, neginf, select(isnan(x), nan, select(isinf(x), select(x > T(0), posinf, neginf), x)))

// --- terms of losses, before they are summed; d = x - t -------------------------------------------------------------------------------
MG_OP2(absolute_error, F, SAME, x, t, abs(x - t))
MG_OP3(smooth_l1_error, F, SAME, x, t, beta, select(abs(x - t) < beta, (x - t) * (x - t) * (T(0.5) / beta), abs(x - t) - T(0.5) * beta))
MG_OP3(huber_error, F, SAME, x, t, delta, select(abs(x - t) < delta, (x - t) * (x - t) * T(0.5), (abs(x - t) - T(0.5) * delta) * delta))
MG_OP2(bce_logits_error, F, SAME, x, t, abs(x) * select(x > T(0), T(1) - t, t) + log1p(exp(-abs(x))))  // for t in [0, 1] no term is negative: nothing cancels
MG_OP2(kl_error, F, SAME, x, t, t * (log(select(t > T(0), t, T(1))) - x))
MG_OP3(absolute_error_backward, F, SAME, g, x, t, g * select(x > t, T(1), select(x < t, T(-1), T(0))))
MG_OP4(smooth_l1_error_backward, F, SAME, g, x, t, beta, g * select(abs(x - t) < beta, (x - t) / beta, select(x > t, T(1), select(x < t, T(-1), T(0)))))
MG_OP4(huber_error_backward, F, SAME, g, x, t, delta, g * select(abs(x - t) < delta, x - t, select(x > t, T(1), select(x < t, T(-1), T(0))) * delta))
MG_OP3(bce_logits_error_backward, F, SAME, g, x, t, g * (sigmoid(x) - t))

// --- gradients worth one pass: g is the incoming gradient, y the op's output, x its input ---------------------------------------------
MG_OP2(relu_backward, F, SAME, g, y, select(y <= T(0), T(0), g))
MG_OP2(sigmoid_backward, F, SAME, g, y, g * (T(1) - y) * y)
MG_OP2(tanh_backward, F, SAME, g, y, g * ((T(1) - y) * (T(1) + y)))  // 1 - y*y cancels near 1
MG_OP2(gelu_erf_backward, F, SAME, g, x, g * gelu_slope(x))
MG_OP2(gelu_tanh_backward, F, SAME, g, x, g * gelu_tanh_slope(x))
MG_OP2(silu_backward, F, SAME, g, x, g * silu_slope(x, sigmoid(x)))
MG_OP2(hardswish_backward, F, SAME, g, x, g * select(x <= T(-3), T(0), select(x >= T(3), T(1), x / T(3) + T(0.5))))
MG_OP3(leaky_relu_backward, F, SAME, g, x, slope, select(x > T(0), g, g * slope))
MG_OP3(elu_backward, F, SAME, g, x, alpha, select(x > T(0), g, g * alpha * exp(x)))
MG_OP3(threshold_backward, F, SAME, g, x, limit, select(x <= limit, T(0), g))
MG_OP4(softplus_backward, F, SAME, g, x, beta, limit, select(x * beta > limit, g, g * sigmoid(x * beta)))

#undef MG_OP1
#undef MG_OP2
#undef MG_OP3
#undef MG_OP4
#undef MG_DIV2
#undef MG_WHERE
