package wire

import (
	"encoding/binary"
	"fmt"
	"math/big"
	"slices"
)

// DECIMAL is 16 bytes (SAP HANA SQL Command Network Protocol Reference: decimal):
// a mantissa of 113 bits, 14 bits of exponent biased by 6176 and a sign.
const (
	decimalLength    = 16
	decimalDigits    = 34
	decimalBias      = 6176
	decimalMaxBiased = 12287
	decimalNull      = 0x70 // in the last byte
	decimalNegative  = 0x80
)

// floatingScale marks a DECIMAL without fixed scale in metadata.
const floatingScale = 0x7fff

func power10(n int) *big.Int {
	return new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n)), nil)
}

// appendDecimal adds r with scale digits after the point, or with as many as the
// format holds when scale is floatingScale.
func appendDecimal(b []byte, r *big.Rat, scale int) ([]byte, error) {
	var mantissa *big.Int
	if scale == floatingScale {
		mantissa, scale = floating(r)
	} else {
		mantissa = scaled(r, scale)
	}
	biased := decimalBias - scale
	if mantissa.CmpAbs(power10(decimalDigits)) >= 0 || biased < 0 || biased > decimalMaxBiased {
		return nil, fmt.Errorf("%s does not fit a DECIMAL", r.RatString())
	}
	data := make([]byte, decimalLength)
	mantissa.FillBytes(data)
	slices.Reverse(data)
	top := binary.LittleEndian.Uint16(data[14:]) | uint16(biased)<<1
	binary.LittleEndian.PutUint16(data[14:], top)
	if mantissa.Sign() < 0 {
		data[15] |= decimalNegative
	}
	return append(b, data...), nil
}

// scaled gives r * 10^scale, rounded half away from zero.
func scaled(r *big.Rat, scale int) *big.Int {
	num, den := new(big.Int).Abs(r.Num()), new(big.Int).Set(r.Denom())
	if scale >= 0 {
		num.Mul(num, power10(scale))
	} else {
		den.Mul(den, power10(-scale))
	}
	num.Add(num.Lsh(num, 1), den) // (2n + d) / 2d = n/d + 1/2
	num.Quo(num, den.Lsh(den, 1))
	if r.Sign() < 0 {
		num.Neg(num)
	}
	return num
}

// floating gives the mantissa of r with as many digits as fit, without trailing
// zeroes, and its scale.
func floating(r *big.Rat) (mantissa *big.Int, scale int) {
	if r.Sign() == 0 {
		return new(big.Int), 0
	}
	// r lies between 10^(magnitude-1) and 10^(magnitude+1).
	magnitude := len(new(big.Int).Abs(r.Num()).String()) - len(r.Denom().String())
	scale = decimalDigits - magnitude
	if mantissa = scaled(r, scale); mantissa.CmpAbs(power10(decimalDigits)) >= 0 {
		scale--
		mantissa = scaled(r, scale)
	}
	quotient, rest := new(big.Int), new(big.Int)
	for {
		if quotient.QuoRem(mantissa, big.NewInt(10), rest); rest.Sign() != 0 {
			return mantissa, scale
		}
		mantissa.Set(quotient)
		scale--
	}
}

func (c *cursor) decimal() *big.Rat {
	data := slices.Clone(c.fixed(decimalLength))
	top := binary.LittleEndian.Uint16(data[14:])
	scale := decimalBias - int(top&0x7fff>>1)
	if top>>8&0x60 == 0x60 {
		c.fail("decimal is not a number")
		return new(big.Rat)
	}
	binary.LittleEndian.PutUint16(data[14:], top&1)
	slices.Reverse(data)
	mantissa := new(big.Int).SetBytes(data)
	if top>>8&decimalNegative != 0 {
		mantissa.Neg(mantissa)
	}
	if scale < 0 {
		return new(big.Rat).SetInt(mantissa.Mul(mantissa, power10(-scale)))
	}
	return new(big.Rat).SetFrac(mantissa, power10(scale))
}
