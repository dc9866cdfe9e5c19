<?php
// What the scripts have in common: how they talk to the test.

const TOO_LARGE = 1153;

function oversized(): string
{
    return "SELECT LENGTH('" . str_repeat('x', 2 << 20) . "')"; // twice what the server takes
}

function done(string $step): void
{
    fwrite(STDOUT, "$step\n");
}

/** Wait until the test has started the server anew. */
function wait(): void
{
    fgets(STDIN);
}
