#!/bin/sh
# Keeps one CPU busy: a string that grows by a letter, 60000 times.
text=
while [ ${#text} -lt 60000 ]; do
    text="${text}x"
done
echo "${#text} letters"
