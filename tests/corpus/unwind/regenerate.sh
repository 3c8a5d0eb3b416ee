#!/bin/sh
# Builds the corpus' programs and records their states anew. Needs gcc and gdb on
# x86_64; the results are committed, so that replaying them needs neither.
set -eu
cd "$(dirname "$0")"
flags="-O2 -fomit-frame-pointer -fno-stack-protector -fcf-protection=none -fno-pic -no-pie
  -fasynchronous-unwind-tables -nostdlib -Wl,--build-id=none -Wl,-z,noseparate-code
  -Wl,-z,max-page-size=4096 -Wl,-z,norelro -Wl,--hash-style=gnu"
rm -f ./*.snapshot ./*.elf

build() { # name, flags and sources
    name=$1
    shift
    # shellcheck disable=SC2086
    (cd programs && gcc $flags -o "../$name.elf" "$@")
    objcopy --remove-section .comment "$name.elf"
}

capture() { # name, instructions to step
    gdb -batch -nx -ex "python program='$1'; folder='.'; steps=$2" -x capture.py "./$1.elf"
}

build chain -static chain.c start.S
build realigned -static realigned.c start.S
build mixed -static mixed.c start.S
build signal -static signal.c start.S
build bare -static -DBARE signal.c start.S
(cd programs && gcc -O2 -fcf-protection=none -shared -fPIC -nostdlib -Wl,--build-id=none \
    -o ../libplt.so library.c)
build plt plt.c start.S -L.. -lplt -Wl,-z,lazy
for name in chain realigned mixed signal bare; do
    capture "$name" 0
done
capture plt 3
rm libplt.so
ls -l ./*.elf ./*.snapshot
