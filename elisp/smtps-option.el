;;; smtps-option.el --- Options that may have been set to anything  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;; This file is part of smtps.

;;; Commentary:

;; `setq' asks no custom type.  So what uses an option reads it by
;; `smtps-option', which refuses a value that can't be, and names the
;; option.  (`smtps-accounts' is checked where accounts are, in smtps.el.)

;;; Code:

(require 'cl-lib)

;; What `define-error' does; the root of the tree is in smtps-wire.el.
(put 'smtps-option-error 'error-conditions
     '(smtps-option-error smtps-error error))
(put 'smtps-option-error 'error-message "Option")

(defun smtps-option--count-p (value)
  "Return non-nil if VALUE is an integer, 1 or more."
  (and (integerp value) (> value 0)))

(defun smtps-option--delay-p (value)
  "Return non-nil if VALUE is a number of seconds that a mail may wait."
  (and (numberp value) (<= 0 value (* 366 24 60 60))))

(defun smtps-option--days-p (value)
  "Return non-nil if VALUE is a number of days to keep a mail, or nil."
  (or (null value) (and (natnump value) (< value 100000))))

(defun smtps-option--file-p (value)
  "Return non-nil if VALUE is a name that a file can have."
  (and (stringp value)
       (not (string-match-p "\\`[ \t\n]*\\'\\|\0" value))))

(defun smtps-option--command-p (value)
  "Return non-nil if VALUE is a list of strings, the first a program, or nil."
  (or (null value)
      (and (proper-list-p value)
           (cl-every #'stringp value)
           (not (equal (car value) "")))))

(defconst smtps-option--kinds
  '((smtps-outbox-directory smtps-option--file-p
     "the name of a directory, a string")
    (smtps-send-delay smtps-option--delay-p
     "a number of seconds, from 0 to those of a year")
    (smtps-keep-sent-days smtps-option--days-p
     "a number of days, or nil to keep all")
    (smtps-future-release booleanp "t or nil")
    (smtps-refused-recipients
     (lambda (value) (memq value '(serve hold))) "serve or hold, a symbol")
    (smtps-warm-while-composing booleanp "t or nil")
    (smtps-helper-command smtps-option--command-p
     "a list of strings, the program and its arguments, or nil")
    (smtps-outbox-shown-sent natnump "a number of mails, 0 or more")
    (smtps-session-maximum-lines smtps-option--count-p
     "a number of lines, 1 or more")
    (smtps-session-show-times booleanp "t or nil")
    (smtps-session-show-octets booleanp "t or nil"))
  "What the options may be: each a predicate, and that in words.")

(defun smtps-option (option)
  "Return the value of OPTION; signal `smtps-option-error' if it can't be."
  (pcase-let ((`(,fits ,words) (alist-get option smtps-option--kinds))
              (value (symbol-value option)))
    (unless (funcall fits value)
      (signal 'smtps-option-error
              (list (format "The option %s must be %s; it is %s."
                            option words
                            (truncate-string-to-width (prin1-to-string value)
                                                      60 nil nil "...")))))
    value))

(provide 'smtps-option)
;;; smtps-option.el ends here
