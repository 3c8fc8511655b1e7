// The one place that includes libfuse.
#pragma once

// 3.12 is the newest interface that both libfuse 3.14.0 and its successors offer with the same signatures.
#define FUSE_USE_VERSION 312
#include <fuse_lowlevel.h>
