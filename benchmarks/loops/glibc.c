/* The C library's malloc and free under the loops. */
#include <stdlib.h>
#include "loops.h"

LOOPS(libc, malloc, free)
