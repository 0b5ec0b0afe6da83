/* SPDX-License-Identifier: Apache-2.0
 * What this processor, and the system on it, can do. */
#ifndef RGI_CPU_FEATURES_H
#define RGI_CPU_FEATURES_H

#include <stdint.h>

#include <recurrentgemma/model.h>

/* RG_CPU_... bits that the processor has and the system lets programs use. Asks the system for the matrix unit's registers where
 * there is one; refused means that its bit is not set. */
uint32_t rgi_cpu_features(void);

#endif
