#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A good guest in a process: what the shared library asks of others, what it does while it is loaded, and how it is linked.
. "$(dirname "$0")/count.sh"
for tool in nm readelf objdump; do need $tool; done

abi=$(sed -n 's/^#define RG_ABI //p' include/recurrentgemma/version.h)
shared=$BUILD/librecurrentgemma.so.$abi
is_sanitized "$shared" && skip "a sanitizer's runtime is linked in"

# Ends the process, prints, changes what belongs to the host, or depends on its locale, environment or global random numbers.
never='abort|exit|_exit|_Exit|quick_exit|atexit|on_exit|raise|kill|__assert_fail|__assert|
v?f?printf|v?dprintf|__v?f?printf_chk|__v?dprintf_chk|f?puts|puts_unlocked|f?putc|putchar|fwrite|perror|psignal|stdin|stdout|stderr|syslog|
fopen|fopen64|freopen|popen|system|execve|execvp|fork|vfork|posix_spawn|
signal|sigaction|sigvec|bsd_signal|setjmp|_setjmp|longjmp|
setlocale|newlocale|uselocale|localeconv|nl_langinfo|strcoll|strtod|strtof|strtold|__strto.*_internal|atof|atoi|atol|atoll|v?f?s?scanf|__isoc.*scanf|
getenv|secure_getenv|__secure_getenv|putenv|setenv|unsetenv|environ|__environ|getcwd|chdir|umask|tmpnam|mktemp|
rand|srand|rand_r|random|srandom|drand48|lrand48|strtok|strerror|gmtime|localtime|ctime|asctime|getpwuid|getpwnam|
setvbuf|setpriority|setrlimit|prctl|mlockall|pthread_atfork|__register_atfork'
never=$(printf '%s' "$never" | tr -d '\n')

nm -D --undefined-only "$shared" | awk '{ print $NF }' | sed 's/@.*//' | sort >"$folder/undefined"
[ -s "$folder/undefined" ] || failed "the shared library needs symbols of others"
grep -xE "$never" "$folder/undefined" >"$folder/hits"
check_empty "the shared library calls nothing that ends, prints, or changes the process" "$folder/hits"

readelf -dW "$shared" >"$folder/dynamic"
readelf -lW "$shared" >"$folder/segments"
grep -E '\((RPATH|RUNPATH|TEXTREL)\)|TEXTREL' "$folder/dynamic" >"$folder/hits"
check_empty "there is no search path and no relocation of code" "$folder/hits"
check "all symbols are bound at load (BIND_NOW)" grep -E 'BIND_NOW|FLAGS.*NOW' "$folder/dynamic"
check "relocated data becomes read-only (RELRO)" grep GNU_RELRO "$folder/segments"
grep GNU_STACK "$folder/segments" | grep -v ' RWE ' >"$folder/stack"
check "the stack is not executable" test -s "$folder/stack"
grep -E '^ *(LOAD|TLS)' "$folder/segments" | grep -E ' (RWE|R?WE) ' >"$folder/hits"
check_empty "no segment is writable and executable" "$folder/hits"
grep NEEDED "$folder/dynamic" | grep -vE '\[(libblis\.so|libsqlite3\.so|libxxhash\.so|libyaml-0\.so|libm\.so|libc\.so|libpthread\.so|libdl\.so|ld-linux)' >"$folder/hits"
check_empty "it needs nothing but BLIS, SQLite, xxHash, libyaml and the C library" "$folder/hits"

# Writable data that lasts: the compiler's own start files leave 9 to 16 bytes.
objdump -t "$shared" | awk 'NF > 3 && $(NF - 2) ~ /^\.(data|bss|tdata|tbss)$/ && $(NF - 1) !~ /^0+$/ { print $(NF - 2), $(NF - 1), $NF }' >"$folder/globals"
grep -vE ' (completed\.[0-9]+|__dso_handle)$' "$folder/globals" >"$folder/hits"
check_empty "there are no mutable globals" "$folder/hits"
bytes=0
for size in $(readelf -SW "$shared" | sed 's/^ *\[ *[0-9]*\] *//' | awk '$1 ~ /^\.(data|bss|tdata|tbss)$/ { print $5 }'); do bytes=$((bytes + 0x$size)); done
echo "TABLE writable data, .data and .bss: $bytes bytes (at most 64)"
check "writable data is at most 64 bytes" test "$bytes" -le 64

if "$CC" -O1 -Wall -Wextra -Werror tests/abi/load_quietly.c -o "$folder/load" -ldl -lm >"$folder/said" 2>&1; then
    check "loading it changes no floating-point mode and starts no thread" "$folder/load" "$(realpath "$shared")"
else
    failed "load_quietly.c compiles" "$folder/said"
fi
finish
