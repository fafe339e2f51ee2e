#!/bin/sh
# gcc for a profile's build: as asked, but nothing is stripped and functions keep their names and lines.
for argument; do
    shift
    case $argument in
        -s) ;;
        -g0) set -- "$@" -g1 ;;
        *) set -- "$@" "$argument" ;;
    esac
done
exec gcc "$@"
