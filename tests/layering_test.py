#!/usr/bin/env python3
"""Reads every include of the tree: arrows point where the design says, and no file is two ideas long."""
import pathlib
import re
import sys

ROOT = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent.parent)
MOST_LINES = 600

# A layer is the longest folder of this list that a file lies in; it may include itself and what is named behind it.
MAY_INCLUDE = {
    'protocol': [],
    'broker': ['protocol'],
    'worker/disk': ['protocol'],
    'worker/volume': ['protocol', 'worker/disk'],
    'worker/fuse': ['protocol', 'worker/volume'],
    'worker/sandbox': ['protocol'],
    'worker': ['protocol', 'worker/disk', 'worker/volume', 'worker/fuse', 'worker/sandbox'],
    'tests': ['protocol', 'broker', 'worker', 'worker/disk', 'worker/volume', 'worker/fuse', 'worker/sandbox'],
}

# Libraries that one place wraps for all others.
WRAPPED = {
    r'ext2fs/': ['worker/disk/ext2fs.h'],
    r'fuse(_lowlevel|_common|_opt)?\.h$|fuse3/': ['worker/fuse/libfuse.h'],
    r'linux/fuse\.h$': ['worker/fuse/kernel_abi.h'],
}

# Words of another layer's business.
FOREIGN = {
    'worker/fuse': r'\b(BlockNumber|LogicalBlock|BlockCache|ext2_\w+|ext2fs_\w+)\b',
    'worker/disk': r'\b(InodeNumber|LogicalBlock|fuse_\w+)\b',
}


def layer_of(path):
    fitting = [layer for layer in MAY_INCLUDE if path == layer or path.startswith(layer + '/')]
    return max(fitting, key=len, default=None)


def sources():
    for folder in ('protocol', 'broker', 'worker', 'tests'):
        for path in sorted((ROOT / folder).rglob('*')):
            if path.suffix in ('.h', '.cpp', '.py'):
                yield path.relative_to(ROOT).as_posix(), path.read_text(encoding='utf-8')


def wrong_includes(path, text):
    layer = layer_of(path)
    for number, line in enumerate(text.splitlines(), 1):
        where = f'{path}:{number}'
        ours = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
        if ours:
            included = ours.group(1)
            if not (ROOT / included).is_file() and not (ROOT / (included + '.in')).is_file():
                yield f'{where}: "{included}" is not a path from the root of the tree'
                continue
            target = layer_of(included)
            if target != layer and target not in MAY_INCLUDE[layer]:
                yield f'{where}: {layer} may not include {target} ("{included}")'
        theirs = re.match(r'\s*#\s*include\s+<([^>]+)>', line)
        if theirs and layer != 'tests':
            for pattern, allowed in WRAPPED.items():
                if re.match(pattern, theirs.group(1)) and path not in allowed:
                    yield f'{where}: only {allowed[0]} includes <{theirs.group(1)}>'


def foreign_words(path, text):
    pattern = FOREIGN.get(layer_of(path))
    for number, line in enumerate(text.splitlines(), 1) if pattern else ():
        code = line.split('//')[0]
        found = re.search(pattern, code)
        if found:
            yield f'{path}:{number}: {found.group(0)} is not for this layer'


def main():
    complaints = []
    for path, text in sources():
        lines = text.count('\n')
        if lines > MOST_LINES:
            complaints.append(f'{path}: {lines} lines; above {MOST_LINES} a file is two ideas')
        if path.endswith('.py'):
            continue
        if path.endswith('.h') and '#pragma once' not in text:
            complaints.append(f'{path}: without #pragma once')
        complaints += wrong_includes(path, text)
        complaints += foreign_words(path, text)
    print('\n'.join(complaints) if complaints else 'every arrow points the right way')
    return 1 if complaints else 0


sys.exit(main())
