/* SPDX-License-Identifier: Apache-2.0
 * Cosines and sines for rotary positions; the angle is off by less than 1e-14 times the position. */
#ifndef RGI_ANGLES_H
#define RGI_ANGLES_H

#include <stdint.h>

/* cosines, sines [rotary_dim / 2]: of position * theta^(-2 i / rotary_dim). Specification: RoFormer, arXiv 2104.09864, section 3.4.2. */
void rgi_rotation_angles(float *cosines, float *sines, uint64_t position, double theta, uint32_t rotary_dim);

#endif
