// The one place that includes libext2fs.
#pragma once

#include <ext2fs/ext2_fs.h>
#include <ext2fs/ext2fs.h>
