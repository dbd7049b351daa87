package wire

// Type codes (SAP HANA SQL Command Network Protocol Reference: type codes).
const (
	typeTinyInt    = 1
	typeSmallInt   = 2
	typeInteger    = 3
	typeBigInt     = 4
	typeDecimal    = 5
	typeReal       = 6
	typeDouble     = 7
	typeChar       = 8
	typeVarchar    = 9
	typeNChar      = 10
	typeNVarchar   = 11
	typeBinary     = 12
	typeVarbinary  = 13
	typeDate       = 14
	typeTimestamp  = 16
	typeClob       = 25
	typeNClob      = 26
	typeBlob       = 27
	typeBoolean    = 28
	typeString     = 29
	typeNString    = 30
	typeBstring    = 33
	typeShortText  = 52
	typeLongDate   = 61
	typeSecondDate = 62
	typeDayDate    = 63
)

// The data format version decides by which code, and in which format, a type
// travels. Server and client use the smaller of what they know. DECIMAL keeps its
// old form here at every version, though HANA sends FIXED8/12/16 from 8 on.
const (
	lowestFormat      = 1
	highestFormat     = 8
	formatOfLongDates = 4
	formatOfBoolean   = 7
)

// typeCode gives the code by which a type travels, or 0 for an unknown type.
func typeCode(t Type, format int) byte {
	switch t {
	case Timestamp, SecondDate, DayDate:
		return dateTypeCode(t, format)
	case Boolean:
		if format < formatOfBoolean {
			return typeTinyInt
		}
		return typeBoolean
	case BigInt:
		return typeBigInt
	case Integer:
		return typeInteger
	case SmallInt:
		return typeSmallInt
	case TinyInt:
		return typeTinyInt
	case Double:
		return typeDouble
	default:
		return variableTypeCode(t)
	}
}

func dateTypeCode(t Type, format int) byte {
	switch {
	case format < formatOfLongDates && t == DayDate:
		return typeDate
	case format < formatOfLongDates:
		return typeTimestamp
	case t == Timestamp:
		return typeLongDate
	case t == SecondDate:
		return typeSecondDate
	default:
		return typeDayDate
	}
}

func variableTypeCode(t Type) byte {
	switch t {
	case Decimal:
		return typeDecimal
	case NVarchar:
		return typeNVarchar
	case Varchar:
		return typeVarchar
	case NClob:
		return typeNClob
	case Varbinary:
		return typeVarbinary
	default:
		return 0
	}
}
