package fifo_test

import "errors"

func playQuota(string) error { return errors.New("later") }
