"""Every word of the README's table of options does what its second column says: mounts with each."""
import os
import re

from support import BROKER, digest, expect, main, mounted, run

README = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..', 'README.md')


def table():
    """(word, verdict) for each word of the table."""
    with open(README) as file:
        for line in file:
            row = re.match(r'\| (`.*`) \| (honoured|ignored|refused) \|', line)
            if row:
                for word in re.findall(r'`([^`]+)`', row[1]):
                    yield word, row[2]


def each_word_is_taken_as_the_readme_says(scratch):
    words = list(table())
    expect(len(words) > 100, f'only {len(words)} words found')
    image = scratch.image(size='32M')
    os.chmod(scratch.path, 0o755)
    problems = []
    for word, verdict in words:
        before = digest(image) if verdict == 'refused' else None
        result = scratch.mount(image, '-o', word, check=False)
        point = scratch / 'mnt'
        if verdict == 'refused':
            if result.returncode not in (1, 32) or word.split('=')[0] not in result.stderr or len(result.stderr.splitlines()) != 1:
                problems.append(f'{word}: exit {result.returncode}, {result.stderr!r}')
            if digest(image) != before:
                problems.append(f'{word}: the refused mount wrote')
        elif result.returncode or result.stderr:
            problems.append(f'{word}: exit {result.returncode}, {result.stderr!r}')
        if mounted(point):
            scratch.unmount(point)
    expect(not problems, '\n'.join(problems))
    scratch.fsck(image)


def ignored_kernel_words_are_listed_when_asked(scratch):
    image = scratch.image(size='32M')
    result = scratch.mount(image, '-v', '-o', 'data=ordered,delalloc', check=False)
    expect(result.returncode == 0 and 'data=ordered' in result.stderr and 'delalloc' in result.stderr, f'{result}')
    scratch.unmount(scratch / 'mnt')


def sloppy_tolerates_unknown_words(scratch):
    image = scratch.image(size='32M')
    point = scratch.mount(image, '-s', '-o', 'frobnicate')
    scratch.unmount(point)


main(each_word_is_taken_as_the_readme_says, ignored_kernel_words_are_listed_when_asked, sloppy_tolerates_unknown_words)
