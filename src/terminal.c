/* SPDX-License-Identifier: Apache-2.0
 * What a terminal may be shown: text from models and files without the power to command it. */
#include "terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include "unicode.h"

bool terminal_is(int descriptor)
{
    return isatty(descriptor) == 1;
}

unsigned terminal_columns(int descriptor)
{
    struct winsize size;
    return ioctl(descriptor, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

void terminal_write_harmless(FILE *file, const char *text, size_t bytes, bool keeps_lines)
{
    size_t plain = 0, i = 0; /* [plain, i) is harmless and not yet written */
    while (i < bytes) {
        uint32_t character = 0;
        const size_t length = unicode_read(&character, text + i, bytes - i);
        const bool is_kept = keeps_lines && (character == '\n' || character == '\t');
        if (length > 0 && (is_kept || !unicode_is_commanding(character))) {
            i += length;
            continue;
        }
        fwrite(text + plain, 1, i - plain, file);
        if (length > 1) fprintf(file, "\\u%04x", (unsigned)character);
        else fprintf(file, "\\x%02x", (unsigned char)text[i]);
        i += length > 0 ? length : 1;
        plain = i;
    }
    fwrite(text + plain, 1, i - plain, file);
}
