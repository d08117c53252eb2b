/* platform.h: what the C library does not give in the same way everywhere. */
#ifndef CLLA_PLATFORM_H
#define CLLA_PLATFORM_H

/* Milliseconds since some moment in the past, never going back. */
double platform_milliseconds(void);

#endif
