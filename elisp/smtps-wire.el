;;; smtps-wire.el --- Print and read messages of the smtps helper  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; One s-expression a line, of a closed grammar that both ends check: proper
;; lists, strings, fixnums, t and nil, symbols and keywords of [a-z][a-z0-9-]*.
;; A string escapes every control character, so that a line is always one
;; whole form.  Everything here is pure: no process, no buffer but a
;; temporary one.

;;; Code:

(define-error 'smtps-error "Error in smtps")
(define-error 'smtps-rpc-error "The smtps helper" 'smtps-error)
(define-error 'smtps-wire-error "Message of the smtps helper" 'smtps-rpc-error)

(defconst smtps-wire-line-limit 65536
  "Octets of a line with its LF: what a pipe takes without making Emacs wait.")

(defconst smtps-wire-depth-limit 16
  "Lists within lists; beyond tens of thousands the Lisp reader itself breaks.")

(defconst smtps-wire--name "[a-z][a-z0-9-]*"
  "What a symbol's name looks like.")

(defconst smtps-wire--control "[\"\\\0-\37\177-\u009f]"
  "A character that a string escapes.")

(defun smtps-wire--escape (character)
  "Return the escaped form of CHARACTER, a string of one."
  (pcase character
    ("\"" "\\\"") ("\\" "\\\\") ("\n" "\\n") ("\r" "\\r")
    ("\t" "\\t") ("\b" "\\b") ("\f" "\\f")
    (_ (format "\\u%04x" (aref character 0)))))

(defun smtps-wire--string (string)
  "Return STRING as it stands on the wire.
Signal `smtps-wire-error' if it holds raw bytes."
  (let ((text (substring-no-properties string)))
    (when (string-match-p (if (multibyte-string-p text)
                              "[^\0-\ud7ff\ue000-\U0010ffff]"
                            "[^\0-\177]")
                          text)
      (signal 'smtps-wire-error '("A string with raw bytes can't be sent")))
    (let ((case-fold-search nil))
      (concat "\""
              (replace-regexp-in-string smtps-wire--control
                                        #'smtps-wire--escape text t t)
              "\""))))

(defun smtps-wire--atom (value)
  "Return the atom VALUE as it stands on the wire."
  (let ((case-fold-search nil))
    (cond
     ((stringp value) (smtps-wire--string value))
     ((fixnump value) (number-to-string value))
     ((and (symbolp value)
           (string-match-p (concat "\\`:?" smtps-wire--name "\\'")
                           (symbol-name value)))
      (symbol-name value))
     (t (signal 'smtps-wire-error
                (list (format "A value of the type %s can't be sent"
                              (type-of value))))))))

(defun smtps-wire--print (value depth)
  "Return VALUE, in DEPTH lists, as it stands on the wire."
  (cond
   ((atom value) (smtps-wire--atom value))
   ((>= depth smtps-wire-depth-limit)
    (signal 'smtps-wire-error '("Lists are nested too deeply to be sent")))
   ((not (proper-list-p value))
    (signal 'smtps-wire-error '("A list that does not end in nil can't be sent")))
   (t (concat "("
              (mapconcat (lambda (inner) (smtps-wire--print inner (1+ depth)))
                         value " ")
              ")"))))

(defun smtps-wire-print (value)
  "Return VALUE as a line without LF.
Signal `smtps-wire-error' for what is outside the grammar or too long."
  (let ((text (smtps-wire--print value 0)))
    (when (>= (string-bytes text) smtps-wire-line-limit)
      (signal 'smtps-wire-error
              (list (format "A message of %d octets is over the limit of %d"
                            (string-bytes text) smtps-wire-line-limit))))
    text))

(defconst smtps-wire--token
  (concat "\\(?: +\\|\\((\\)\\|\\()\\)"
          "\\|\\(\"\\(?:[^\"\\\0-\37\177-\u009f]"
          "\\|\\\\\\(?:[\"\\nrtbf]\\|u00[0-9a-f][0-9a-f]\\)\\)*\""
          "\\|\\(?::?[a-z][a-z0-9-]*\\|-?\\(?:0\\|[1-9][0-9]*\\)\\)\\(?:[ ()]\\|\\'\\)\\)\\)")
  "One token; group 1 opens a list, 2 closes one, 3 is an atom.")

(defun smtps-wire--check (text)
  "Signal `smtps-wire-error' unless TEXT is one form of the grammar."
  (let ((case-fold-search nil)
        (position 0) (depth 0) (forms 0)
        (end (length text)))
    (while (< position end)
      (unless (eq (string-match smtps-wire--token text position) position)
        (signal 'smtps-wire-error
                (list (format "A message is outside the grammar at character %d"
                              position))))
      (let ((next (match-end 0)))
        (cond
         ((match-beginning 1)
          (when (= depth 0) (setq forms (1+ forms)))
          (setq depth (1+ depth)))
         ((match-beginning 2) (setq depth (1- depth)))
         ((match-beginning 3)
          (when (= depth 0) (setq forms (1+ forms)))
          ;; The character after a name or a number was only looked at.
          (unless (or (= (aref text position) ?\")
                      (not (memq (aref text (1- next)) '(?\s ?\( ?\)))))
            (setq next (1- next)))))
        (setq position next))
      (when (or (< depth 0) (> depth smtps-wire-depth-limit) (> forms 1))
        (signal 'smtps-wire-error
                '("A message is not one form, or is nested too deeply"))))
    (unless (and (= depth 0) (= forms 1))
      (signal 'smtps-wire-error '("A message is not one whole form")))))

(defun smtps-wire--in-grammar-p (value)
  "Return non-nil if every number in VALUE is a fixnum."
  (cond ((consp value) (and (smtps-wire--in-grammar-p (car value))
                            (smtps-wire--in-grammar-p (cdr value))))
        ((numberp value) (fixnump value))
        (t t)))

(defun smtps-wire-read (string)
  "Return the one value in STRING.
Signal `smtps-wire-error' for anything outside the grammar."
  (when (>= (string-bytes string) smtps-wire-line-limit)
    (signal 'smtps-wire-error '("A message is over the limit")))
  (smtps-wire--check string)
  (let ((value (condition-case nil
                   (car (read-from-string string))
                 (error (signal 'smtps-wire-error
                                '("A message can't be read"))))))
    (unless (smtps-wire--in-grammar-p value)
      (signal 'smtps-wire-error '("A number is beyond Emacs's integers")))
    value))

(defun smtps-wire-split (rest text)
  "Return (LINES . REST) from REST, what was left over before, and the new TEXT.
LINES are whole, without LF.  A line over the limit appears as the symbol
`too-long'; REST is then the symbol `drop' until its LF has come."
  (let ((pieces (split-string text "\n"))
        (lines nil))
    (while pieces
      (let ((piece (pop pieces)))
        (unless (eq rest 'drop)
          (setq rest (if (or (null rest) (string= rest "")) piece
                       (concat rest piece)))
          (when (>= (length rest) smtps-wire-line-limit)
            (push 'too-long lines)
            (setq rest 'drop)))
        (when pieces
          (unless (eq rest 'drop) (push rest lines))
          (setq rest ""))))
    (cons (nreverse lines) rest)))

(provide 'smtps-wire)
;;; smtps-wire.el ends here
