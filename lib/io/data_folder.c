/* SPDX-License-Identifier: Apache-2.0
 * The folder of the library's data files: in the build folder that of the build, in what `make install` links that of the installation. */
#include "io/demo.h"

const char rgi_data_folder[] = RGI_DATA_FOLDER;
